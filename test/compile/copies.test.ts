import { describe, expect, test, vi } from "vitest";
import type { ObjectKey } from "../../src/api/object-key.ts";
import { compileUnit } from "../../src/compile/unit.ts";
import { digest } from "../../src/controller/digest.ts";
import { clusterName } from "../../src/envoy/names.ts";
import type * as ir from "../../src/ir/ir.ts";
import { Store } from "../../src/store/store.ts";
import type { Unit } from "../../src/store/view.ts";
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

test("what tells problems apart holds none of the large texts that they are about", () => {
  const name = "x".repeat(1_000_000);
  const path = `/${"y".repeat(50_000)}`;
  const routes = numbers(0, 200).map((i) => `{ match: ${path}${i}, services: [{ name: web, port: 80 }] }`);
  const yaml = `---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { type: ExternalName, externalName: ${name}, ports: [{ port: 80 }] }
`;
  const store = new Store();
  store.apply(objects(rootYaml("a", "a.example.com", `[${routes.join(", ")}]`) + yaml));
  const { findings } = compileUnit("a.example.com" as Unit, store, testOptions({}).compile);
  const found = [...findings.values()].flatMap((problems) => [...problems]);
  expect(found.map(([, { code }]) => code)).toEqual(routes.map(() => "ExternalNameInvalid"));
  const kept = found.reduce((sum, [id]) => sum + id.length, 0);
  expect(kept).toBeLessThan(routes.length * 1000); // both texts stood in each
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
  const split = vi.spyOn(String.prototype, "split");
  const [host] = translate(batch, testOptions({})).hosts;
  const readings = split.mock.contexts.filter((text) => String(text).length > 200_000);
  split.mockRestore();
  expect(readings).toHaveLength(1);
  const shares = host?.routes.flatMap(({ action }) => (action.kind === "forward" ? action.shares : []));
  expect(shares?.every(({ cluster }) => cluster?.tls !== undefined)).toBe(true);
});

describe("the different clusters that a namespace has below one host", () => {
  const MAX = 1000;
  const WEB = `---
apiVersion: v1
kind: Service
metadata: { name: web }
spec: { ports: [{ port: 80 }] }
`;

  function checked(path: string): string {
    return `{ name: web, port: 80, healthCheck: { path: "/${path}" } }`;
  }

  function checkedRoutes(from: number, to: number): string {
    return numbers(from, to)
      .map((i) => `{ match: /r${i}, services: [${checked(`s${i}`)}] }`)
      .join(", ");
  }

  function problemsOf({ verdicts, ingresses }: Translation): readonly unknown[] {
    const problems = [
      ...[...verdicts.values()].flatMap((verdict) => verdict.problems),
      ...[...ingresses.values()].flat(),
    ];
    return problems.map(({ object, at, ...fact }) => {
      return { object, at, code: fact.code, ...("count" in fact ? { count: fact.count } : {}) };
    });
  }

  function clustersOf({ resources }: Translation): number {
    return resources.filter(({ type, name }) => type === "cluster" && name.includes("/")).length;
  }

  test("up to the bound all serve, and each use after it that was there before", () => {
    const again = `{ match: /again, services: [${checked("s3")}] }`;
    const fits = translate(
      objects(rootYaml("shop", "a.example.com", `[${checkedRoutes(0, MAX)}, ${again}]`) + WEB),
      testOptions({}),
    );
    expect(problemsOf(fits)).toEqual([]);
    expect(clustersOf(fits)).toBe(MAX);

    const more = `[${checkedRoutes(0, MAX + 3)}, ${again}, { match: /both, services: [${checked("s3")}, ${checked("new")}] }]`;
    const beyond = translate(objects(rootYaml("shop", "a.example.com", more) + WEB), testOptions({}));
    expect(problemsOf(beyond)).toEqual([
      {
        object: "IngressRoute/default/shop",
        at: `spec.routes[${MAX}].services[0]`,
        code: "TooManyUpstreams",
        count: MAX + 4,
      },
    ]);
    expect(clustersOf(beyond)).toBe(MAX);
    expect(new Set(served(beyond.hosts))).toEqual(
      new Set([...numbers(0, MAX).map((i) => `/r${i}`), "/again", "/both"]),
    );
    const both = beyond.hosts[0]?.routes.find(({ match }) => match.path === "/both");
    const shares = both?.action.kind === "forward" ? both.action.shares : [];
    expect(shares.map(({ cluster }) => cluster !== undefined)).toEqual([true, false]);
  });

  test("what serves is the same from scratch and after edits", () => {
    const translator = new Translator(testOptions({}));
    translator.apply(objects(WEB + rootYaml("shop", "a.example.com", `[${checkedRoutes(500, MAX + 200)}]`)));
    const changed = objects(rootYaml("shop", "a.example.com", `[${checkedRoutes(0, MAX + 200)}]`));
    translator.apply(changed);
    const scratch = translate([...changed, ...objects(WEB)], testOptions({}));
    expect(served(translator.hosts())).toEqual(numbers(0, MAX).map((i) => `/r${i}`));
    expect(translator.current().resources.map(({ name, version }) => [name, version])).toEqual(
      scratch.resources.map(({ name, version }) => [name, version]),
    );
    expect(translator.current().verdicts).toEqual(scratch.verdicts);
  });

  test("a thousand Services with a policy each all serve", () => {
    const services = numbers(0, MAX).map((i) => WEB.replace("name: web", `name: s${i}`));
    const routes = numbers(0, MAX).map(
      (i) => `{ match: /r${i}, services: [${checked("healthz").replace("web", `s${i}`)}] }`,
    );
    const root = rootYaml("shop", "a.example.com", `[${routes.join(", ")}]`);
    expect(problemsOf(translate(objects(services.join("") + root), testOptions({})))).toEqual([]);
  });

  test("24,000 uses in one object make a thousand clusters and one problem, and no other is encoded", () => {
    const routes = numbers(0, 2000).map((i) => {
      return {
        match: `/r${i}`,
        services: numbers(0, 12).map((j) => ({ name: "web", port: 80, healthCheck: { path: `/${i}-${j}` } })),
      };
    });
    const batch = objects(rootYaml("shop", "a.example.com", JSON.stringify(routes)) + WEB);
    const translator = new Translator(testOptions({}));
    translator.apply(batch);
    const translation = translator.current();
    // With two listeners, the scope, a load assignment and the cluster that is empty.
    expect(translator.work().resourcesEncoded).toBe(MAX + 5);
    expect(clustersOf(translation)).toBe(MAX);
    expect(problemsOf(translation)).toEqual([
      {
        object: "IngressRoute/default/shop",
        at: "spec.routes[83].services[4]",
        code: "TooManyUpstreams",
        count: 24_000,
      },
    ]);
  });

  test("so it is for the services of a tcpproxy", () => {
    const services = numbers(0, MAX + 1).map((i) => checked(`s${i}`));
    const yaml = `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: db }
spec:
  virtualhost: { fqdn: db.example.com, tls: { passthrough: true } }
  tcpproxy: { services: [${services.join(", ")}] }
`;
    const translation = translate(objects(yaml + WEB), testOptions({}));
    const shares = translation.hosts[0]?.tcpProxy?.shares ?? [];
    expect(shares.filter(({ cluster }) => cluster !== undefined)).toHaveLength(MAX);
    expect(problemsOf(translation)).toMatchObject([{ at: `spec.tcpproxy.services[${MAX}]`, code: "TooManyUpstreams" }]);
  });

  /** With a path for each port, `perHost` of them for each host. */
  function ingressYaml(name: string, namespace: string, ports: readonly number[], perHost: number): string {
    const rules = numbers(0, Math.ceil(ports.length / perHost)).map((host) => ({
      host: `h${host}.example.com`,
      http: {
        paths: ports.slice(host * perHost, (host + 1) * perHost).map((number) => ({
          path: `/${namespace}${number}`,
          pathType: "Prefix",
          backend: { service: { name: "web", port: { number } } },
        })),
      },
    }));
    const service = {
      metadata: { name: "web", namespace },
      spec: { ports: ports.map((port) => ({ port, name: `p${port}` })) },
    };
    const ingress = { metadata: { name, namespace }, spec: { rules } };
    const documents = [
      { apiVersion: "v1", kind: "Service", ...service },
      { apiVersion: "networking.k8s.io/v1", kind: "Ingress", ...ingress },
    ];
    return documents.map((document) => `---\n${JSON.stringify(document)}\n`).join("");
  }

  test("Ingresses have what their namespace's root has left, those of another namespace their own", () => {
    const root = rootYaml("shop", "h0.example.com", `[${checkedRoutes(0, MAX - 5)}]`);
    const own = ingressYaml("own", "default", numbers(80, 90), 100);
    const others = ingressYaml("others", "others", numbers(80, 90), 100);
    const translation = translate(objects(root + own + others), testOptions({}));
    expect(problemsOf(translation)).toEqual([
      {
        object: "Ingress/default/own",
        at: "spec.rules[0].http.paths[5].backend",
        code: "TooManyUpstreams",
        count: MAX + 5,
      },
    ]);
    expect(clustersOf(translation)).toBe(MAX + 10);
  });

  test("one Ingress has no more over all of its hosts", () => {
    const fits = translate(objects(ingressYaml("many", "default", numbers(1, 1 + MAX), 10)), testOptions({}));
    expect(problemsOf(fits)).toEqual([]);
    expect(clustersOf(fits)).toBe(MAX);
    const beyond = translate(objects(ingressYaml("many", "default", numbers(1, 1 + MAX + 50), 10)), testOptions({}));
    expect(problemsOf(beyond)).toEqual([
      {
        object: "Ingress/default/many",
        at: "spec.rules[100].http.paths[0].backend",
        code: "TooManyUpstreams",
        count: MAX + 50,
      },
    ]);
    expect(clustersOf(beyond)).toBe(MAX);
  });
});
