import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ObjectKey } from "../../src/api/object-key.ts";
import type { Resource } from "../../src/envoy/resource.ts";
import { translate } from "../../src/translate/translate.ts";
import { type Delta, type Translation, Translator } from "../../src/translate/translator.ts";
import { envoyForm } from "../envoy-form.ts";
import { testOptions } from "../settings.ts";
import {
  anyObject,
  applied,
  deleted,
  history,
  ingressRoute,
  keyOf,
  OPTIONS,
  type RawObject,
  RUNS,
  replaceSomewhere,
  SEEDS,
  world,
} from "./worlds.ts";

describe.each(SEEDS)("laws of the core, SEED=%i", (seed) => {
  const parameters = { seed, numRuns: RUNS };

  test("what was translated change by change is what is translated from scratch, and the deltas add up to it", () => {
    fc.assert(
      fc.property(history, (batches) => {
        const translator = new Translator(OPTIONS);
        const follower = new Follower();
        const left = new Map<string, RawObject>();
        for (const batch of batches) {
          const delta = translator.apply(
            batch.map(({ raw, isDeleted }) => {
              if (isDeleted) left.delete(keyOf(raw));
              else left.set(keyOf(raw), raw);
              return isDeleted ? deleted(raw) : applied(raw);
            }),
          );
          expect(delta.failures).toEqual([]);
          follower.follow(delta);
          const current = translator.current();
          const fresh = translate([...left.values()].map(applied), OPTIONS);
          expectSame(current, fresh);
          follower.expectAt(current);
          expectNothingDangles(current.resources);
        }
      }),
      parameters,
    );
  });

  test("what is applied while other changes are on their way becomes of it what it becomes one after the other", () => {
    let overlapped = 0;
    fc.assert(
      fc.property(history, fc.array(fc.nat(2), { minLength: 20, maxLength: 60 }), (batches, turns) => {
        const translator = new Translator(OPTIONS);
        const follower = new Follower();
        const left = new Map<string, RawObject>();
        const running: { readonly keys: ReadonlySet<string>; readonly steps: Generator<undefined, Delta> }[] = [];
        const waiting = [...batches];
        const advance = (i: number): void => {
          const { done, value } = running[i]?.steps.next() ?? {};
          if (done !== true) return;
          running.splice(i, 1);
          expect(value?.failures).toEqual([]);
          if (value === undefined) throw new Error("changes that end have a delta");
          follower.follow(value);
          follower.expectNothingDangles();
        };
        const begin = (): boolean => {
          const [batch] = waiting;
          const keys = new Set(batch?.map(({ raw }) => keyOf(raw)));
          if (batch === undefined || running.some((other) => [...keys].some((key) => other.keys.has(key))))
            return false;
          waiting.shift();
          for (const { raw, isDeleted } of batch) {
            if (isDeleted) left.delete(keyOf(raw));
            else left.set(keyOf(raw), raw);
          }
          if (running.length > 0) overlapped++;
          const changes = batch.map(({ raw, isDeleted }) => (isDeleted ? deleted(raw) : applied(raw)));
          running.push({ keys, steps: translator.steps(changes) });
          advance(running.length - 1);
          return true;
        };
        for (const turn of turns) if (turn > 0 || !begin()) advance(turn % Math.max(1, running.length));
        while (running.length > 0 || waiting.length > 0) if (!begin()) advance(0);
        const current = translator.current();
        expectSame(current, translate([...left.values()].map(applied), OPTIONS));
        follower.expectAt(current);
        expectNothingDangles(current.resources);
      }),
      parameters,
    );
    expect(overlapped).toBeGreaterThan(RUNS / 10);
  });

  test("the order of objects does not matter", () => {
    fc.assert(
      fc.property(
        world.chain((objects) =>
          fc.tuple(fc.constant(objects), fc.shuffledSubarray([...objects], { minLength: objects.length })),
        ),
        ([objects, shuffled]) => {
          expectSame(translate(shuffled.map(applied), OPTIONS), translate(objects.map(applied), OPTIONS));
        },
      ),
      parameters,
    );
  });

  test("nothing dangles, and the name of a cluster determines its content", () => {
    const contents = new Map<string, string>();
    fc.assert(
      fc.property(world, fc.boolean(), (objects, allowLoopbackExternalName) => {
        const options = testOptions({ allowLoopbackExternalName });
        const { resources } = translate(objects.map(applied), options);
        expectNothingDangles(resources);
        for (const { type, name, version } of resources) {
          if (type !== "cluster") continue;
          expect(contents.get(name) ?? version).toBe(version);
          contents.set(name, version);
        }
      }),
      parameters,
    );
    expect(contents.size).toBeGreaterThan(4);
  });

  test("breaking one object changes no byte of the hosts that do not reach it", () => {
    let untouched = 0;
    const garbage = fc.oneof(
      fc.constantFrom<unknown[]>(null, undefined, 0, -1, 1e300, "", "garbage", "*", true, [], {}, [[]], { "": 0 }),
      fc.jsonValue(),
    );
    const picks = fc.array(fc.nat(), { minLength: 30, maxLength: 30 });
    fc.assert(
      fc.property(world, fc.nat(), garbage, picks, (objects, which, value, random) => {
        const victim = objects[which % objects.length];
        if (victim === undefined) return;
        const broken =
          random[0] === undefined || random[0] % 2 === 0
            ? breakRoot(victim, value, random)
            : breakObject(victim, value, random);
        // Without its class, an object of another controller is a new one of ours. So are those of a class that changes hands.
        fc.pre(victim.kind !== "IngressClass" && (isOurs(victim) || !isOurs(broken)));
        const before = translate(objects.map(applied), OPTIONS).resources;
        const after = translate(
          objects.map((raw) => applied(raw === victim ? broken : raw)),
          OPTIONS,
        ).resources;
        for (const scope of before) {
          if (scope.type !== "scopedRoute" || reaches(scope, keyOf(victim), objects)) continue;
          if (isNewlyForEveryHost(victim, scope, after)) continue;
          untouched++;
          expect(closure(scope, after, serviceOfSlice(victim))).toEqual(closure(scope, before, serviceOfSlice(victim)));
        }
      }),
      parameters,
    );
    expect(untouched).toBeGreaterThan(RUNS / 10);
  });

  test("an object that may not be a root changes no byte of any host", () => {
    const options = testOptions({ rootNamespaces: ["n1"] });
    fc.assert(
      fc.property(world, ingressRoute, fc.constantFrom("namespace", "class", "fqdn"), (objects, intruder, why) => {
        const metadata = { ...intruder.metadata, namespace: why === "namespace" ? "n2" : "n1", name: "intruder" };
        const annotations = { "kubernetes.io/ingress.class": "other" };
        const raw: RawObject = {
          ...intruder,
          metadata: why === "class" ? { ...metadata, annotations } : metadata,
          spec: {
            virtualhost: { fqdn: why === "fqdn" ? "*.h1.example.com" : "h1.example.com" },
            routes: [{ match: "/", delegate: { name: "a" } }],
          },
        };
        const before = translate(objects.map(applied), options);
        const after = translate([...objects, raw].map(applied), options);
        expect(bytes(after.resources)).toEqual(bytes(before.resources));
      }),
      parameters,
    );
  });

  test("an object applied again as it is changes nothing", () => {
    fc.assert(
      fc.property(world, anyObject, (objects, last) => {
        const translator = new Translator(OPTIONS);
        translator.apply([...objects, last].map(applied));
        const work = translator.work();
        const delta = translator.apply([last].map(applied));
        expect(delta).toEqual({
          resources: { set: [], removed: [] },
          newClusters: [],
          verdicts: new Map(),
          ingresses: new Map(),
          failures: [],
          hosts: new Set(),
        });
        expect(translator.work()).toEqual(work);
      }),
      parameters,
    );
  });
});

/** A reader who knows nothing but the deltas. */
class Follower {
  readonly #resources = new Map<string, Resource>();
  readonly #statements = new Map<ObjectKey, unknown>();

  follow({ resources, verdicts, ingresses }: Delta): void {
    const named = [...resources.set, ...resources.removed].map(idOf);
    expect(new Set(named).size).toBe(named.length);
    for (const resource of resources.set) {
      const known = this.#resources.get(idOf(resource));
      const isNew = known?.version !== resource.version || String(known.origins) !== String(resource.origins);
      expect(isNew, `${idOf(resource)} is in the delta and is no change`).toBe(true);
      this.#resources.set(idOf(resource), resource);
    }
    for (const name of resources.removed) {
      expect(this.#resources.delete(idOf(name)), `${idOf(name)} was removed and never set`).toBe(true);
    }
    for (const [key, statement] of [...verdicts, ...ingresses]) {
      expect(this.#statements.get(key)).not.toEqual(statement);
      if (statement === undefined) this.#statements.delete(key);
      else this.#statements.set(key, statement);
    }
  }

  expectNothingDangles(): void {
    expectNothingDangles([...this.#resources.values()]);
  }

  expectAt({ resources, verdicts, ingresses }: Translation): void {
    const sorted = [...this.#resources].sort(([a], [b]) => (a < b ? -1 : 1));
    expect(bytes(sorted.map(([, resource]) => resource))).toEqual(bytes(resources));
    expect(sorted.map(([, resource]) => aboutBytes(resource))).toEqual(resources.map(aboutBytes));
    expect(this.#statements).toEqual(new Map<ObjectKey, unknown>([...verdicts, ...ingresses]));
  }
}

function idOf({ type, name }: Pick<Resource, "type" | "name">): string {
  return `${type} ${name}`;
}

function expectSame(actual: Translation, expected: Translation): void {
  expect(bytes(actual.resources)).toEqual(bytes(expected.resources));
  expect(actual.resources.map(aboutBytes)).toEqual(expected.resources.map(aboutBytes));
  expect([...actual.verdicts]).toEqual([...expected.verdicts]);
  expect([...actual.ingresses]).toEqual([...expected.ingresses]);
}

/** All but the bytes themselves, which take long to compare one by one. */
function aboutBytes({ body, ...about }: Resource): Omit<Resource, "body"> {
  return about;
}

function bytes(resources: readonly Resource[]): readonly string[] {
  return resources.map((resource) => `${idOf(resource)} ${Buffer.from(resource.body).toString("base64")}`);
}

type EnvoyForm = {
  readonly cluster?: readonly {
    readonly name: string;
    readonly eds_cluster_config?: { readonly service_name: string };
  }[];
};

/** Every name that is used exists, everything that exists is used, and the lists of names tell what the bytes say. */
function expectNothingDangles(resources: readonly Resource[]): void {
  const names = (type: Resource["type"]) => resources.filter((each) => each.type === type).map(({ name }) => name);
  const usedClusters = new Set<string>();
  for (const scope of resources) {
    if (scope.type !== "scopedRoute") continue;
    const written = clustersIn(envoyForm([scope]));
    expect([...written].sort()).toEqual(scope.clusters);
    for (const name of written) usedClusters.add(name);
  }
  expect([...usedClusters].sort()).toEqual(names("cluster").sort());
  const usedAssignments = new Set<string>();
  for (const cluster of resources) {
    if (cluster.type !== "cluster") continue;
    const form: EnvoyForm = Object(envoyForm([cluster]));
    const service = form.cluster?.[0]?.eds_cluster_config?.service_name;
    expect(cluster.loadAssignment).toBe(service);
    if (service !== undefined) usedAssignments.add(service);
  }
  expect([...usedAssignments].sort()).toEqual(names("loadAssignment").sort());
}

/** The clusters that a scope in Envoy's form names. */
function clustersIn(form: unknown): Set<string> {
  const found = new Set<string>();
  JSON.stringify(form, (key, value: unknown) => {
    if (key === "cluster" && typeof value === "string") found.add(value);
    if (key === "clusters" && Array.isArray(value)) {
      for (const { name } of value) found.add(String(name));
    }
    return value;
  });
  return found;
}

/** The scope, its clusters and their load assignments, as bytes; without those of a Service whose slice is the victim. */
function closure(scope: Resource, resources: readonly Resource[], except: string | undefined): readonly string[] {
  const clusters = resources.filter(({ type, name }) => type === "cluster" && scope.clusters.includes(name));
  const assignments = new Set(clusters.map(({ loadAssignment }) => loadAssignment));
  const used = resources.filter(
    ({ type, name }) =>
      (type === "scopedRoute" && name === scope.name) ||
      (type === "cluster" && scope.clusters.includes(name)) ||
      (type === "loadAssignment" && assignments.has(name) && !name.startsWith(`${except}/`)),
  );
  return bytes(used);
}

/** Whether the host's objects, or what these name, include the key. */
function reaches(scope: Resource, key: string, objects: readonly RawObject[]): boolean {
  if (scope.origins.includes(key)) return true;
  return objects.some((raw) => {
    const change = applied(raw);
    if (!scope.origins.includes(change.key) || change.kind !== "applied") return false;
    if (change.object.kind === "Ingress") {
      const { metadata, defaultBackend, rules, tls } = change.object;
      const backends = [defaultBackend, ...rules.flatMap(({ paths }) => paths.map(({ backend }) => backend))];
      return (
        backends.some(
          (backend) => backend?.kind === "service" && key === `Service/${metadata.namespace}/${backend.service}`,
        ) || tls.some(({ secretName }) => key === `Secret/${metadata.namespace}/${secretName}`)
      );
    }
    if (change.object.kind !== "IngressRoute") return false;
    const { metadata, routes, virtualHost } = change.object;
    if (key === `Secret/${metadata.namespace}/${virtualHost?.tls?.secretName}`) return true;
    return routes.some(
      ({ services, delegate }) =>
        services.some(({ name }) => key === `Service/${metadata.namespace}/${name}`) ||
        (delegate !== undefined && key === `IngressRoute/${delegate.namespace ?? metadata.namespace}/${delegate.name}`),
    );
  });
}

/** A host that is taken away from a rule of an Ingress leaves a rule for every host: another object, and not a broken one. */
function isNewlyForEveryHost({ kind }: RawObject, scope: Resource, after: readonly Resource[]): boolean {
  if (kind !== "Ingress" || scope.name !== "h|*") return false;
  return after.some(({ type, name, origins }) => {
    return type === scope.type && name === scope.name && origins.join() !== scope.origins.join();
  });
}

/** Whose class depends on other objects counts as foreign. */
function isOurs(raw: RawObject): boolean {
  const change = applied(raw);
  if (change.kind === "applied" && change.object.kind === "IngressClass") return false;
  if (change.kind === "applied" && change.object.kind === "Ingress") {
    const { annotation, name } = change.object.ingressClass;
    return annotation === undefined ? name === undefined : annotation.value === OPTIONS.compile.ingressClass;
  }
  if (change.kind !== "applied" || change.object.kind !== "IngressRoute") return true;
  return change.object.ingressClass === undefined || change.object.ingressClass === OPTIONS.compile.ingressClass;
}

function serviceOfSlice(raw: RawObject): string | undefined {
  const change = applied(raw);
  return change.kind === "applied" && change.object.kind === "EndpointSlice"
    ? `${change.object.metadata.namespace}/${change.object.service}`
    : undefined;
}

/** The object with garbage where roots are told from others and hosts are given away. */
function breakRoot(raw: RawObject, garbage: unknown, random: readonly number[]): RawObject {
  const spec = Object(raw.spec);
  const broken: readonly RawObject[] = [
    { ...raw, spec: { ...spec, virtualhost: garbage } },
    { ...raw, spec: { ...spec, virtualhost: { ...Object(spec.virtualhost), fqdn: garbage } } },
    { ...raw, spec: { ...spec, routes: garbage } },
    { ...raw, metadata: { ...raw.metadata, creationTimestamp: garbage } },
  ];
  return broken[(random[1] ?? 0) % broken.length] ?? raw;
}

/** The object with garbage somewhere; it keeps its name. */
function breakObject(raw: RawObject, garbage: unknown, random: readonly number[]): RawObject {
  let at = 0;
  const { kind, metadata, ...rest } = raw;
  const { namespace, name, ...about } = metadata;
  const pick = () => random[at++ % random.length] ?? 0;
  if (pick() % 6 === 0) {
    const replaced = replaceSomewhere(about, garbage, pick);
    const others = typeof replaced === "object" && replaced !== null ? replaced : {};
    return { kind, ...rest, metadata: { ...others, namespace, name } };
  }
  const replaced = replaceSomewhere(rest, garbage, pick);
  const others = typeof replaced === "object" && replaced !== null ? replaced : {};
  return { ...others, kind, metadata };
}
