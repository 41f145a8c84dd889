import { describe, expect, test } from "vitest";
import type { ApiObject, ObjectChange } from "../../src/api/kinds.ts";
import { Translator } from "../../src/translate/translator.ts";
import { applied, deleted, OPTIONS, type RawObject } from "./worlds.ts";

const HOSTS = 200;

describe(`the work of a change among ${HOSTS} hosts`, () => {
  test("an edit of one root compiles one host and sends one resource", () => {
    const { translator, unitsFor } = manyHosts();
    const { units, delta } = unitsFor([applied(root(7, { prefixRewrite: "/x" }))]);
    expect(units).toBe(1);
    expect(namesOf(delta)).toEqual(["scopedRoute h|host-7.example.com"]);
    expect(translator.failing().size).toBe(0);
  });

  test("a root added or deleted compiles its host alone", () => {
    const { unitsFor } = manyHosts();
    expect(unitsFor([applied(root(HOSTS))]).units).toBe(1);
    expect(unitsFor([deleted(root(HOSTS))]).units).toBe(1);
  });

  test("a change of endpoints compiles nothing and sends one load assignment", () => {
    const { unitsFor } = manyHosts();
    const { units, delta } = unitsFor([applied(slice("shared", "10.0.0.7"))]);
    expect(units).toBe(0);
    expect(namesOf(delta)).toEqual(["loadAssignment team/shared/"]);
  });

  test("endpoints that nobody uses, and an unrelated Service, change nothing", () => {
    const { unitsFor } = manyHosts();
    const { units, delta } = unitsFor([applied(slice("unused", "10.0.0.7")), applied(service("unused", 81))]);
    expect(units).toBe(0);
    expect(namesOf(delta)).toEqual([]);
  });

  test("labels, annotations, resourceVersion and status change nothing", () => {
    const { unitsFor } = manyHosts();
    const edits = (raw: RawObject): RawObject => ({
      ...raw,
      metadata: {
        ...raw.metadata,
        labels: { x: "y" },
        annotations: { "a/b": "c" },
        resourceVersion: "7",
        managedFields: [],
      },
      status: { currentStatus: "valid" },
    });
    const { units, delta } = unitsFor([applied(edits(root(7))), applied(edits(service("shared", 80)))]);
    expect(units).toBe(0);
    expect(delta).toEqual({
      resources: { set: [], removed: [] },
      newClusters: [],
      verdicts: new Map(),
      ingresses: new Map(),
      failures: [],
      hosts: new Set(),
    });
  });

  test("a change of a Service compiles its users", () => {
    const { unitsFor } = manyHosts();
    expect(unitsFor([applied(service("own-7", 81))]).units).toBe(1);
    expect(unitsFor([applied(service("shared", 81))]).units).toBe(HOSTS);
  });

  test("a Service that appears compiles those who missed it", () => {
    const { unitsFor } = manyHosts();
    expect(unitsFor([applied(root(3, {}, "late"))]).units).toBe(1);
    expect(unitsFor([applied(service("late", 80))]).units).toBe(1);
  });

  test("a child that appears compiles the hosts that delegate to it", () => {
    const { unitsFor } = manyHosts();
    const delegating = {
      ...root(3),
      spec: { virtualhost: { fqdn: "host-3.example.com" }, routes: [{ match: "/", delegate: { name: "late" } }] },
    };
    expect(unitsFor([applied(delegating)]).units).toBe(1);
    const child = { kind: "IngressRoute", metadata: { namespace: "team", name: "late" }, spec: { routes: [] } };
    expect(unitsFor([applied(child)]).units).toBe(1);
    expect(unitsFor([deleted(child)]).units).toBe(1);
  });
});

describe("a bug in one unit", () => {
  test("leaves the others, and its own last output, and is reported until it is over", () => {
    const { translator, unitsFor } = manyHosts();
    const before = translator.current();
    const bug = new Error("a bug");
    const poisoned = poison(applied(root(7)), bug);
    const { delta } = unitsFor([poisoned, applied(root(8, { prefixRewrite: "/x" }))]);
    expect(delta.failures).toEqual([{ part: "host-7.example.com", error: bug }]);
    expect([...translator.failing()]).toEqual(["host-7.example.com"]);
    expect(namesOf(delta)).toEqual(["scopedRoute h|host-8.example.com"]);
    const scope7 = (resources: typeof before.resources) =>
      resources.find(({ name }) => name === "h|host-7.example.com");
    expect(scope7(translator.current().resources)).toEqual(scope7(before.resources));

    // Its routes cannot be read, so no change of a Service makes a difference to it; what it serves stays as it was.
    const later = unitsFor([applied(service("shared", 81))]);
    expect(later.units).toBe(HOSTS - 1);
    expect([...translator.failing()]).toEqual(["host-7.example.com"]);
    expect(scope7(translator.current().resources)).toEqual(scope7(before.resources));

    const { delta: cured } = unitsFor([applied(root(7)), applied(root(8)), applied(service("shared", 80))]);
    expect(cured.failures).toEqual([]);
    expect(translator.failing().size).toBe(0);
    expect(translator.current()).toEqual(before);
  });

  test("in an object that nothing reaches is reported and costs nothing else", () => {
    const { unitsFor } = manyHosts();
    const orphan = { kind: "IngressRoute", metadata: { namespace: "team", name: "orphan" }, spec: { routes: [] } };
    const { delta } = unitsFor([
      poison(applied(orphan), new Error("a bug")),
      applied(root(8, { prefixRewrite: "/x" })),
    ]);
    expect(delta.failures).toHaveLength(1);
    expect(namesOf(delta)).toEqual(["scopedRoute h|host-8.example.com"]);
  });
});

type Change = Pick<ReturnType<Translator["apply"]>, "resources" | "verdicts" | "failures">;

function manyHosts() {
  const translator = new Translator(OPTIONS);
  const indices = Array.from({ length: HOSTS }, (_, i) => i);
  translator.apply([
    ...indices.map((i) => applied(root(i))),
    ...indices.map((i) => applied(service(`own-${i}`, 80))),
    applied(service("shared", 80)),
    applied(service("unused", 80)),
    applied(slice("shared", "10.0.0.1")),
  ]);
  const unitsFor = (changes: readonly ObjectChange[]): { readonly units: number; readonly delta: Change } => {
    const before = translator.work().unitsCompiled;
    const delta = translator.apply(changes);
    return { units: translator.work().unitsCompiled - before, delta };
  };
  return { translator, unitsFor };
}

function root(i: number, more: object = {}, own: string = `own-${i}`): RawObject {
  const routes = [
    { match: "/", services: [{ name: "shared", port: 80 }] },
    { match: "/own", services: [{ name: own, port: 80 }], ...more },
  ];
  return {
    kind: "IngressRoute",
    metadata: { namespace: "team", name: `root-${i}` },
    spec: { virtualhost: { fqdn: `host-${i}.example.com` }, routes },
  };
}

function service(name: string, port: number): RawObject {
  return { kind: "Service", metadata: { namespace: "team", name }, spec: { ports: [{ port }] } };
}

function slice(name: string, address: string): RawObject {
  return {
    kind: "EndpointSlice",
    metadata: { namespace: "team", name: `${name}-1`, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ name: "", port: 8080 }],
    endpoints: [{ addresses: [address] }],
  };
}

function namesOf({ resources }: Change): readonly string[] {
  return [...resources.set, ...resources.removed].map(({ type, name }) => `${type} ${name}`);
}

/** The same object with a bug waiting in it: reading its routes throws. */
function poison(change: ObjectChange, bug: Error): ObjectChange {
  if (change.kind !== "applied") throw new Error("only what is applied can be poisoned");
  const object: ApiObject = Object.defineProperty({ ...change.object }, "routes", {
    // Not among the keys that a comparison with another object reads.
    enumerable: false,
    get() {
      throw bug;
    },
  });
  return { ...change, object };
}
