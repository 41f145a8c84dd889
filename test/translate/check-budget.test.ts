import { expect, test } from "vitest";
import type { ObjectChange } from "../../src/api/kinds.ts";
import { type ObjectKey, objectKey } from "../../src/api/object-key.ts";
import { CheckBudget } from "../../src/translate/check-budget.ts";
import { Translator } from "../../src/translate/translator.ts";
import { objects, rootYaml } from "../objects.ts";
import { testOptions } from "../settings.ts";

const MAX = 8192;

/** By Service: how many of its endpoints may be checked, if not all. */
type Curtailed = Readonly<Record<string, number>>;

/** The ports of one namespace, each with so many clusters that check it and so many endpoints. */
function curtailed(ports: Readonly<Record<string, readonly [clusters: number, endpoints: number]>>): Curtailed {
  const budget = new CheckBudget(MAX);
  for (const [service, [clusters, endpoints]] of Object.entries(ports)) {
    const port = { namespace: "default", service, portName: "" };
    for (let i = 0; i < clusters; i++) budget.add(port, () => endpoints);
  }
  const changes = budget.takeChanges();
  expect(budget.takeChanges()).toEqual([]);
  return Object.fromEntries(
    changes.flatMap(({ port, maxChecked, curtailedTo }) =>
      curtailedTo === undefined ? [] : [[port.service, maxChecked]],
    ),
  );
}

function many(count: number, clusters: number, endpoints: number): Record<string, readonly [number, number]> {
  return Object.fromEntries(Array.from({ length: count }, (_, i) => [`s${i}`, [clusters, endpoints] as const]));
}

test("a few hundred endpoints and a few ways to check them are left alone", () => {
  expect(curtailed({ web: [4, 1000] })).toEqual({});
  expect(curtailed({ web: [10, 400], api: [10, 400] })).toEqual({});
  expect(curtailed(many(160, 1, 50))).toEqual({});
});

test("one port gets half of what there is at most", () => {
  expect(curtailed({ web: [24, 1000] })).toEqual({ web: 170 });
  expect(curtailed({ web: [1, 4097] })).toEqual({ web: 4096 });
  expect(curtailed({ web: [5000, 10] })).toEqual({ web: 0 });
});

test("who needs little is left alone by who needs much", () => {
  expect(curtailed({ ...many(20, 2, 50), web: [24, 1000], api: [24, 1000] })).toEqual({ web: 85, api: 85 });
});

test("where all need the same, all are curtailed alike", () => {
  expect(curtailed(many(300, 1, 50))).toEqual(Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`s${i}`, 16])));
  expect(Object.values(curtailed(many(9000, 1, 1)))).toEqual(Array.from({ length: 9000 }, () => 0));
});

function root(name: string, ways: number): string {
  const routes = Array.from({ length: ways }, (_, i) => {
    return `{ match: /r${i}, services: [{ name: ${name}, port: 80, healthCheck: { path: /s${i} } }] }`;
  });
  return rootYaml(name, `${name}.example.com`, `[${routes.join(", ")}]`);
}

function rootKey(name: string): ObjectKey {
  return objectKey("IngressRoute", "default", name);
}

function service(name: string): string {
  return `---\n{ apiVersion: v1, kind: Service, metadata: { name: ${name} }, spec: { ports: [{ port: 80 }] } }\n`;
}

function endpoints(service: string, count: number): readonly ObjectChange[] {
  const slice = {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { name: service, labels: { "kubernetes.io/service-name": service } },
    addressType: "IPv4",
    ports: [{ port: 8080 }],
    endpoints: Array.from({ length: count }, (_, i) => ({ addresses: [`10.0.${i >> 8}.${i & 255}`] })),
  };
  return objects(`---\n${JSON.stringify(slice)}\n`);
}

test("a change of endpoints sends what is different, compiles nothing, and tells who is concerned", () => {
  const translator = new Translator(testOptions({ maxHealthCheckConnections: 64 }));
  const work = (changes: readonly ObjectChange[]) => {
    const before = translator.work().unitsCompiled;
    const { resources, verdicts, failures } = translator.apply(changes);
    expect(failures).toEqual([]);
    expect(translator.work().unitsCompiled).toBe(before);
    return { sent: resources.set.map(({ name }) => name), told: [...verdicts.keys()] };
  };
  const names = ["a", "b", "c"];
  translator.apply(objects(names.map((name) => root(name, 2) + service(name)).join("")));

  expect(work(endpoints("a", 16))).toEqual({ sent: ["default/a/"], told: [] });
  // One port may take half of them.
  expect(work(endpoints("a", 17))).toEqual({ sent: ["default/a/"], told: ["IngressRoute/default/a"] });
  expect(work(endpoints("a", 18))).toEqual({ sent: ["default/a/"], told: [] });
  expect(work(endpoints("b", 16))).toEqual({ sent: ["default/b/"], told: [] });
  // Now all of them are taken, so that who has most has less.
  expect(work(endpoints("c", 1))).toEqual({
    sent: ["default/a/", "default/b/", "default/c/"],
    told: ["IngressRoute/default/a", "IngressRoute/default/b"],
  });
  expect(work(endpoints("c", 8))).toEqual({ sent: ["default/c/"], told: [] });
  expect(work(endpoints("c", 9))).toEqual({ sent: ["default/c/"], told: ["IngressRoute/default/c"] });
  const [problem] = translator.verdicts().get(rootKey("c"))?.problems ?? [];
  expect(problem).toMatchObject({
    code: "EndpointsNotChecked",
    connections: 16,
    max: 64,
    at: "spec.routes[0].services[0]",
  });
  expect(work(endpoints("a", 0)).told).toEqual(names.map(rootKey));
  expect([...translator.verdicts().values()].flatMap(({ problems }) => problems)).toEqual([]);
});

test("a thousand clusters of one Service encode its endpoints twice, and not each", () => {
  const translator = new Translator(testOptions({}));
  translator.apply([...objects(service("web")), ...endpoints("web", 1000)]);
  const before = translator.work().resourcesEncoded;
  translator.apply(objects(root("web", 1000)));
  // The clusters and the scope come on top.
  expect(translator.work().resourcesEncoded - before).toBe(1000 + 1 + 2);
});

test("an object that uses many Services is told of the first", () => {
  const names = Array.from({ length: 40 }, (_, i) => `s${i}`);
  const routes = names.map((name) => {
    return `{ match: /${name}, services: [{ name: ${name}, port: 80, healthCheck: { path: / } }] }`;
  });
  const translator = new Translator(testOptions({ maxHealthCheckConnections: 64 }));
  translator.apply([
    ...objects(rootYaml("shop", "shop.example.com", `[${routes.join(", ")}]`) + names.map(service).join("")),
    ...names.flatMap((name) => endpoints(name, 3)),
  ]);
  const { problems = [] } = translator.verdicts().get(rootKey("shop")) ?? {};
  expect(problems.map(({ at }) => at)).toEqual(names.slice(0, 10).map((_, i) => `spec.routes[${i}].services[0]`));
  expect(problems.map(({ more }) => more)).toEqual([...names.slice(1, 10).map(() => undefined), 30]);
});
