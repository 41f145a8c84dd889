import { describe, expect, test } from "vitest";
import type { ObjectKey } from "../../src/api/object-key.ts";
import { digest } from "../../src/controller/digest.ts";
import { clusterName } from "../../src/envoy/names.ts";
import type * as ir from "../../src/ir/ir.ts";
import { translate } from "../../src/translate/translate.ts";
import { type Translation, Translator } from "../../src/translate/translator.ts";
import { objects, rootYaml } from "../objects.ts";
import { createAuthority } from "../parts/authority.ts";
import { manyLarge } from "../parts/odd-certificates.ts";
import { testOptions } from "../settings.ts";

// 245 KB: 17 clusters may have it below one host.
const BUNDLE = manyLarge(12);

function validatedService(subject: string, more = ""): string {
  return `{ name: web, port: 443, validation: { caSecret: ca, subjectName: ${subject}.example.com }${more} }`;
}

function route(i: number, more = ""): string {
  return `{ match: /r${i}, services: [${validatedService(`s${i}`, more)}] }`;
}

function numbers(from: number, to: number): readonly number[] {
  return Array.from({ length: to - from }, (_, i) => from + i);
}

function routes(from: number, to: number): string {
  return numbers(from, to)
    .map((i) => route(i))
    .join(", ");
}

function backends(namespace: string): string {
  return `---
apiVersion: v1
kind: Service
metadata: { name: web, namespace: ${namespace}, annotations: { contour.heptio.com/upstream-protocol.tls: "443" } }
spec: { ports: [{ port: 443 }] }
---
apiVersion: v1
kind: Secret
metadata: { name: ca, namespace: ${namespace} }
stringData: { ca.crt: ${JSON.stringify(BUNDLE)} }
`;
}

function served(hosts: readonly ir.Host[]): readonly string[] {
  const paths = hosts.flatMap(({ routes }) => routes.filter(({ action }) => action.kind === "forward"));
  return paths.map(({ match }) => match.path).sort((a, b) => Number(a.slice(2)) - Number(b.slice(2)));
}

const FIRST_17 = numbers(0, 17).map((i) => `/r${i}`);

describe("authorities that each cluster of a host has a copy of", () => {
  test("the first routes of the document serve, whatever came first in time", () => {
    const translator = new Translator(testOptions({}));
    translator.apply(objects(backends("default") + rootYaml("shop", "shop.example.com", `[${routes(10, 30)}]`)));
    const changed = objects(rootYaml("shop", "shop.example.com", `[${routes(0, 30)}]`));
    translator.apply(changed);
    expect(served(translator.hosts())).toEqual(FIRST_17);
    const scratch = translate([...changed, ...objects(backends("default"))], testOptions({}));
    const named = ({ resources }: Translation) => resources.map(({ type, name, version }) => [type, name, version]);
    expect(named(translator.current())).toEqual(named(scratch));
    expect(translator.current().verdicts).toEqual(scratch.verdicts);
    const { problems = [] } = scratch.verdicts.get("IngressRoute/default/shop" as ObjectKey) ?? {};
    expect(problems.map(({ code }) => code)).toEqual(numbers(17, 30).map(() => "AuthoritiesTooLarge"));
    translator.apply(objects(rootYaml("shop", "shop.example.com", `[${routes(5, 30)}]`)));
    expect(served(translator.hosts())).toEqual(numbers(5, 22).map((i) => `/r${i}`));
  });

  test("what is used twice counts once, and what gets no requests does not", () => {
    const idle = `{ match: /idle, services: [{ name: web, port: 443, weight: 1 }, ${validatedService("idle", ", weight: 0")}] }`;
    const again = numbers(100, 200).map((i) => `{ match: /r${i}, services: [${validatedService("s3")}] }`);
    const yaml = rootYaml("shop", "shop.example.com", `[${idle}, ${routes(0, 17)}, ${again.join(", ")}]`);
    const { verdicts } = translate(objects(yaml + backends("default")), testOptions({}));
    expect([...verdicts.values()].map(({ currentStatus }) => currentStatus)).toEqual(["valid"]);
  });

  test("other hosts, and delegates in other namespaces, have their own", () => {
    const delegate = `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: press, namespace: press }
spec: { routes: [${numbers(0, 17)
      .map((i) => route(i).replace("/r", "/press/r"))
      .join(", ")}] }
`;
    const yaml = [
      rootYaml(
        "a",
        "a.example.com",
        `[${routes(0, 17)}, { match: /press, delegate: { name: press, namespace: press } }]`,
      ),
      rootYaml("b", "b.example.com", `[${routes(17, 34)}]`),
      delegate,
      backends("default"),
      backends("press"),
    ];
    const { verdicts } = translate(objects(yaml.join("")), testOptions({}));
    expect([...verdicts.values()].map(({ currentStatus }) => currentStatus)).toEqual(["valid", "valid", "valid"]);
  });

  test("so it is for the services of a tcpproxy", () => {
    const services = numbers(0, 20).map((i) => validatedService(`s${i}`));
    const yaml = `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: db }
spec:
  virtualhost: { fqdn: db.example.com, tls: { passthrough: true } }
  tcpproxy: { services: [${services.join(", ")}] }
`;
    const [host] = translate(objects(yaml + backends("default")), testOptions({})).hosts;
    const shares = host?.tcpProxy?.shares ?? [];
    expect(shares.map(({ cluster }) => cluster !== undefined)).toEqual(numbers(0, 20).map((i) => i < 17));
  });

  test("the name of a cluster is made of their digest, and changes with them", () => {
    const [host] = translate(
      objects(rootYaml("a", "a.example.com", `[${route(0)}]`) + backends("default")),
      testOptions({}),
    ).hosts;
    const [first] = host?.routes ?? [];
    const cluster = first?.action.kind === "forward" ? first.action.shares[0]?.cluster : undefined;
    const { tls } = cluster ?? {};
    if (cluster === undefined || tls?.validation === undefined) throw new Error("no validation");
    const withAuthorities = (authorities: ir.Authorities) =>
      clusterName({ ...cluster, tls: { ...tls, validation: { authorities, subjectName: "s0" } } }, digest);
    expect(withAuthorities({ id: "1", pem: "x" })).toBe(withAuthorities({ id: "1", pem: "x" }));
    expect(withAuthorities({ id: "1", pem: "x" })).not.toBe(withAuthorities({ id: "2", pem: "x" }));
  });
});

test("the hosts of one Ingress have a copy of its certificate each, up to 64 MiB of them", () => {
  const { certPem, keyPem } = createAuthority("Test CA").issue({ names: ["*.example.com"] });
  const chain = certPem + manyLarge(3);
  const hosts = numbers(0, 1200).map((i) => `h${i}.example.com`);
  const ingress = {
    apiVersion: "networking.k8s.io/v1",
    kind: "Ingress",
    metadata: { name: "shop" },
    spec: {
      tls: [{ hosts, secretName: "cert" }],
      defaultBackend: { service: { name: "web", port: { number: 443 } } },
      rules: hosts.map((host) => ({ host })),
    },
  };
  const secret = {
    apiVersion: "v1",
    kind: "Secret",
    metadata: { name: "cert" },
    type: "kubernetes.io/tls",
    stringData: { "tls.crt": chain, "tls.key": keyPem },
  };
  const yaml = [ingress, secret].map((object) => `${JSON.stringify(object)}\n---\n`).join("");
  const translation = translate(objects(yaml + backends("default")), testOptions({}));
  const secure = new Set(translation.hosts.flatMap(({ name, tls }) => (tls === undefined ? [] : [name])));
  const fit = Math.floor((64 * 1024 * 1024) / chain.length);
  expect(fit).toBeLessThan(hosts.length);
  expect(hosts.map((host) => secure.has(host))).toEqual(hosts.map((_, i) => i < fit));
  expect(translation.hosts).toHaveLength(hosts.length + 1);
  const [problem, ...others] = translation.ingresses.get("Ingress/default/shop" as ObjectKey) ?? [];
  expect(problem).toMatchObject({ code: "IngressTlsUnusable", host: `h${fit}.example.com` });
  expect(others).toHaveLength(hosts.length - fit - 1);
});

test("of the ports of a Service a route that names another one is told the first", () => {
  const ports = numbers(0, 20_000).map((i) => `{ name: p${i}, port: ${1000 + i} }`);
  const yaml = `---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { ports: [${ports.join(", ")}] }
`;
  const { verdicts } = translate(
    objects(rootYaml("a", "a.example.com", "[{ match: /, services: [{ name: web, port: 99 }] }]") + yaml),
    testOptions({}),
  );
  const [verdict] = verdicts.values();
  expect(verdict?.description).toBe(
    'route "/": service "web": the Service has no port 99, only 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1009 and 19990 more',
  );
});

test("an annotation that names many ports is read once, not by each route", () => {
  const routes = numbers(0, 2000).map((i) => `{ match: /r${i}, services: [{ name: web, port: 80 }] }`);
  const yaml = `---
apiVersion: v1
kind: Service
metadata: { name: web, annotations: { contour.heptio.com/upstream-protocol.tls: "${"1,".repeat(100_000)} 80 " } }
spec: { ports: [{ port: 80 }] }
`;
  const batch = objects(rootYaml("a", "a.example.com", `[${routes.join(", ")}]`) + yaml);
  const begin = performance.now();
  const [host] = translate(batch, testOptions({})).hosts;
  expect(performance.now() - begin).toBeLessThan(5000); // it was 10 s and more
  const shares = host?.routes.flatMap(({ action }) => (action.kind === "forward" ? action.shares : []));
  expect(shares?.every(({ cluster }) => cluster?.tls !== undefined)).toBe(true);
});
