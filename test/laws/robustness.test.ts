import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { matchesRegex } from "../../src/controller/regexes.ts";
import { matchRequest } from "../../src/envoy/match.ts";
import { translate } from "../../src/translate/translate.ts";
import type { Translation } from "../../src/translate/translator.ts";
import { envoyForm } from "../envoy-form.ts";
import { anything, withGarbage } from "./garbage.ts";
import { anyObject, applied, OPTIONS, type RawObject, RUNS, SEEDS, world } from "./worlds.ts";

describe.each(SEEDS)("no input breaks the core, SEED=%i", (seed) => {
  const parameters = { seed, numRuns: RUNS };

  test("anything in the place of any part of an object", () => {
    const picks = fc.array(fc.nat(), { minLength: 12, maxLength: 12 });
    fc.assert(
      fc.property(
        world,
        fc.array(fc.tuple(fc.nat(), anything, picks), { minLength: 1, maxLength: 5 }),
        (objects, slips) => {
          const broken = [...objects];
          for (const [which, garbage, random] of slips) {
            const at = which % broken.length;
            const victim = broken[at];
            if (victim !== undefined) broken[at] = withGarbage(victim, garbage, random);
          }
          expectSound(translate(broken.map(applied), OPTIONS));
        },
      ),
      parameters,
    );
  });

  test("anything as a whole object", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(anyObject, anything), { minLength: 1, maxLength: 6 }), (pairs) => {
        const objects = pairs.map(([raw, garbage]) => ({ ...Object(garbage), kind: raw.kind, metadata: raw.metadata }));
        expectSound(translate(objects.map(applied), OPTIONS));
      }),
      parameters,
    );
  });
});

describe("sizes that nobody would write", () => {
  test("100,000 routes in one object", () => {
    const routes = Array.from({ length: 100_000 }, (_, i) => ({
      match: `/r${i}`,
      services: [{ name: "s", port: 80 }],
    }));
    const translation = expectSound(translate([root(routes), service].map(applied), OPTIONS));
    expect(statuses(translation)).toEqual(["valid"]);
  });

  test("100,000 wrong routes in one object", () => {
    const routes = Array.from({ length: 100_000 }, () => ({
      match: "/x",
      services: [{ name: "s", port: 0, what: 1 }],
    }));
    const translation = expectSound(translate([root(routes), service].map(applied), OPTIONS));
    expect(statuses(translation)).toEqual(["invalid"]);
  });

  test("an Ingress of 10,000 hosts, each with an entry in its tls", () => {
    const hosts = Array.from({ length: 10_000 }, (_, i) => `h${i}.example.com`);
    const paths = [{ path: "/", pathType: "Prefix", backend: { service: { name: "s", port: { number: 80 } } } }];
    const big = ingress({ rules: hosts.map((host) => ({ host, http: { paths } })), tls: [{ hosts, secretName: "x" }] });
    const translation = expectSound(translate([big, service].map(applied), OPTIONS));
    expect(translation.hosts).toHaveLength(10_000);
  });

  test("an Ingress of 1,500 regular expressions that are as dear as they can be", () => {
    const paths = Array.from({ length: 1_500 }, (_, i) => ({
      path: `/${i}${"((a{0,31}){0,31})".repeat(55)}[a]`,
      pathType: "ImplementationSpecific",
      backend: { service: { name: "s", port: { number: 80 } } },
    }));
    const big = ingress({ rules: [{ host: "big.example.com", http: { paths } }] });
    const { ingresses } = expectSound(translate([big, service].map(applied), OPTIONS));
    expect([...ingresses.values()].flat().map(({ code }) => code)).toEqual(paths.map(() => "IngressPathInvalid"));
  });

  test("a match, a host and an unknown field of a megabyte", () => {
    const long = "x".repeat(1_000_000);
    const templates = "<".repeat(1_000_000);
    const objects = [
      root([{ match: `/${long}`, services: [{ name: long, port: 80, [long]: 1 }] }]),
      root(
        [{ match: `/${"a/".repeat(500_000)}`, services: [{ name: "s", port: 80 }] }],
        "second",
        "second.example.com",
      ),
      root([], "third", templates),
      root(
        [{ match: "/", services: [{ name: "s", port: 80, validation: { [long]: 1 } }] }],
        "fourth",
        "fourth.example.com",
      ),
    ];
    const { verdicts } = expectSound(translate([...objects, service].map(applied), OPTIONS));
    for (const { description } of verdicts.values()) expect(description.length).toBeLessThan(2_000);
  });

  test("a delegation 10,000 levels deep, and the same ending in a cycle", () => {
    const chain = (end: string) => [
      root([{ match: "/", delegate: { name: "d0" } }]),
      ...Array.from({ length: 10_000 }, (_, i) =>
        child(`d${i}`, [{ match: "/", delegate: { name: i === 9_999 ? end : `d${i + 1}` } }]),
      ),
      child("leaf", [{ match: "/leaf", services: [{ name: "s", port: 80 }] }]),
      service,
    ];
    const deep = expectSound(translate(chain("leaf").map(applied), OPTIONS));
    expect(matchRequest(deep.resources, { host: "big.example.com", path: "/leaf/x" }, matchesRegex)).toMatchObject({
      kind: "forward",
    });
    expect(new Set(statuses(deep))).toEqual(new Set(["valid"]));
    const cycle = expectSound(translate(chain("d0").map(applied), OPTIONS));
    expect(matchRequest(cycle.resources, { host: "big.example.com", path: "/" }, matchesRegex)).toMatchObject({
      status: 503,
    });
    expect(statuses(cycle).filter((status) => status === "invalid")).toHaveLength(1);
    for (const { description } of cycle.verdicts.values()) expect(description.length).toBeLessThan(2_000);
  });

  test("a delegation 2,000 levels deep that is one segment longer at each", () => {
    const objects = [
      root([{ match: "/", delegate: { name: "d0" } }]),
      ...Array.from({ length: 2_000 }, (_, i) =>
        child(`d${i}`, [
          { match: `/${"a/".repeat(i)}x`, services: [{ name: "s", port: 80 }] },
          { match: `/${"a/".repeat(i + 1)}`, delegate: { name: `d${i + 1}` } },
        ]),
      ),
      service,
    ];
    const { resources } = expectSound(translate(objects.map(applied), OPTIONS));
    const request = { host: "big.example.com", path: `/${"a/".repeat(1_999)}x` };
    expect(matchRequest(resources, request, matchesRegex)).toMatchObject({ kind: "forward" });
  });

  test("400 prefixes, one inside the other, to one object of 1,000 routes", () => {
    const prefix = (length: number) => `/${"a/".repeat(length)}`;
    const delegating = Array.from({ length: 400 }, (_, i) => ({ match: prefix(i + 1), delegate: { name: "many" } }));
    const routes = Array.from({ length: 1_000 }, (_, i) => ({
      match: `${prefix(400)}${i}`,
      services: [{ name: "s", port: 80 }],
    }));
    const objects = [root(delegating), child("many", routes), service];
    const { resources } = expectSound(translate(objects.map(applied), OPTIONS));
    const request = { host: "big.example.com", path: `${prefix(400)}999` };
    expect(matchRequest(resources, request, matchesRegex)).toMatchObject({ kind: "forward" });
  });

  test("ways down that double at each of 30 levels", () => {
    // At each level an object goes on with its own prefix and with one that is a segment longer: 2^30 ways in all.
    const levels = 30;
    const prefix = (length: number) => `/${"a/".repeat(length)}`;
    const objects = [root([{ match: "/", delegate: { name: "d0-0" } }]), service];
    for (let level = 0; level <= levels; level++) {
      for (let length = 0; length <= level; length++) {
        const onwards = [length, length + 1].map((next) => ({
          match: prefix(next),
          delegate: { name: `d${level + 1}-${next}` },
        }));
        const end = [{ match: prefix(length), services: [{ name: "s", port: 80 }] }];
        objects.push(child(`d${level}-${length}`, level === levels ? end : onwards));
      }
    }
    const translation = expectSound(translate(objects.map(applied), OPTIONS));
    for (const path of ["/x", "/a/x", "/a/a/a"]) {
      const request = { host: "big.example.com", path };
      expect(matchRequest(translation.resources, request, matchesRegex)).toMatchObject({ kind: "forward" });
    }
    expect(new Set(statuses(translation))).toEqual(new Set(["valid"]));
  });
});

const service: RawObject = {
  kind: "Service",
  metadata: { namespace: "default", name: "s" },
  spec: { ports: [{ port: 80 }] },
};

function ingress(spec: unknown): RawObject {
  return { apiVersion: "networking.k8s.io/v1", kind: "Ingress", metadata: { namespace: "default", name: "big" }, spec };
}

function child(name: string, routes: unknown): RawObject {
  return { kind: "IngressRoute", metadata: { namespace: "default", name }, spec: { routes } };
}

function root(routes: unknown, name = "root", fqdn = "big.example.com"): RawObject {
  return { ...child(name, routes), spec: { virtualhost: { fqdn }, routes } };
}

function statuses({ verdicts }: Translation): readonly string[] {
  return [...verdicts.values()].map(({ currentStatus }) => currentStatus);
}

/** Whether Envoy could decode all of it. */
function expectSound(translation: Translation): Translation {
  expect(envoyForm(translation.resources)).toBeDefined();
  for (const { body, version } of translation.resources) {
    expect(body.length).toBeGreaterThan(0);
    expect(version).toMatch(/^[0-9a-f]{32,}$/);
  }
  return translation;
}
