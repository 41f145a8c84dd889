import { afterEach, beforeEach, expect, test } from "vitest";
import { KINDS } from "../../src/api/kinds.ts";
import { objectKey } from "../../src/api/object-key.ts";
import type { KubeRequest, KubeWatch } from "../../src/kube/client.ts";
import { ApiError, ConnectionError } from "../../src/kube/errors.ts";
import { resourcePath } from "../../src/kube/resource-path.ts";
import { KubernetesSource, type SeenStatus } from "../../src/sources/kubernetes.ts";
import { type AppliedObject, ModelApi, QuickClock } from "../kube/model-api.ts";
import { type Raw, sourceSuite } from "./suite.ts";
import { eventually, eventuallySynced, Told } from "./told.ts";

/** All kinds of an API server. */
class ModelCluster {
  readonly clock = new QuickClock();
  /** What every request is answered with. */
  failure: Error | undefined;
  readonly #kinds = new Map(
    KINDS.map(({ apiVersions: [apiVersion = ""], plural, kind }) => {
      return [kind as string, { path: resourcePath({ apiVersion, plural }), api: new ModelApi() }];
    }),
  );

  of(kind: string): ModelApi {
    const found = this.#kinds.get(kind);
    if (found === undefined) throw new Error(`no kind ${kind}`);
    return found.api;
  }

  apply({ apiVersion: _, kind, ...object }: Raw): void {
    // Items of lists come without.
    this.of(kind).apply(object);
  }

  async request(request: KubeRequest): Promise<unknown> {
    return this.#at(request.path).request(request);
  }

  async watch(watch: KubeWatch): Promise<AsyncIterable<readonly unknown[]>> {
    return this.#at(watch.path).watch(watch);
  }

  #at(path: string): ModelApi {
    if (this.failure !== undefined) throw this.failure;
    const found = [...this.#kinds.values()].find((kind) => kind.path === path);
    if (found === undefined) throw new Error(`nobody should ask for ${path}`);
    return found.api;
  }
}

sourceSuite("an API server", async () => {
  const cluster = new ModelCluster();
  return {
    namespaces: ["one", "two"],
    apply: async (objects) => {
      for (const object of objects) cluster.apply(object);
    },
    remove: async (objects) => {
      for (const { kind, metadata } of objects) cluster.of(kind).remove(metadata.namespace, metadata.name);
    },
    removeNamespace: async (namespace) => {
      for (const { kind } of KINDS) {
        for (const { metadata } of [...cluster.of(kind).objects.values()]) {
          if (metadata.namespace === namespace) cluster.of(kind).remove(namespace, metadata.name);
        }
      }
    },
    touch: async (object) => {
      const metadata = { ...object.metadata, labels: { touched: "yes" }, managedFields: [{ manager: "somebody" }] };
      cluster.apply({ ...object, metadata, status: { currentStatus: "valid" } });
    },
    source: (listener) => new KubernetesSource({ client: cluster, clock: cluster.clock }, listener),
    stop: async () => {},
  };
});

let cluster: ModelCluster;
let told: Told;
let source: KubernetesSource;
let seen: [string, SeenStatus | undefined][];
beforeEach(() => {
  cluster = new ModelCluster();
  told = new Told();
  seen = [];
  const statuses = {
    wants: (key: string) => key.startsWith("IngressRoute/") || key === "Service/n/envoy",
    seen: (key: string, status: SeenStatus | undefined) => void seen.push([key, status]),
  };
  source = new KubernetesSource({ client: cluster, clock: cluster.clock, statuses }, told.listener);
});
afterEach(() => source.stop());

function object(name: string, more: object = {}): AppliedObject {
  return { metadata: { namespace: "n", name, uid: name }, ...more };
}

test("Secrets that cannot matter are left out by the API server", async () => {
  source.start();
  await eventuallySynced(told);
  await eventually(() => expect(cluster.of("Secret").asked.watches).toBe(1));
  for (const query of cluster.of("Secret").asked.queries) {
    expect(query.fieldSelector).toBe(
      "type!=helm.sh/release.v1,type!=kubernetes.io/dockercfg,type!=kubernetes.io/dockerconfigjson,type!=bootstrap.kubernetes.io/token",
    );
  }
  expect(cluster.of("Service").asked.queries[0]).not.toHaveProperty("fieldSelector");
});

test("what comes in one turn of the event loop is one batch, of all kinds", async () => {
  source.start();
  await eventuallySynced(told);
  await eventually(() => expect(KINDS.every(({ kind }) => cluster.of(kind).openWatches === 1)).toBe(true));
  cluster.of("Service").apply(object("a"));
  cluster.of("IngressClass").apply({ metadata: { name: "a" } });
  cluster.of("Service").apply(object("b"));
  cluster.of("Service").remove("n", "a");
  await eventually(() => expect(told.batches).toHaveLength(1));
  expect(told.batches[0]?.map(({ kind, key }) => `${kind} ${key}`).sort()).toEqual([
    "applied IngressClass//a",
    "applied Service/n/b",
    "deleted Service/n/a",
  ]);
});

test("nothing is told before every kind was listed", async () => {
  const secrets = cluster.of("Secret");
  const { request } = secrets;
  secrets.request = () => Promise.reject(refused(403, "403 Forbidden"));
  cluster.of("Service").apply(object("a"));
  source.start();
  await eventually(() => expect(told.problems).toHaveLength(1));
  expect(told.batches).toEqual([]);
  expect(told.synced).toBe(0);
  await eventually(() => expect(source.unread()).toEqual(["secrets"]));
  secrets.request = request;
  await eventuallySynced(told);
  expect(source.unread()).toEqual([]);
  expect(told.batches).toHaveLength(1);
  await eventually(() => expect(told.problems).toEqual([]));
});

test("statuses are seen as they are, of the objects whose status is wanted", async () => {
  cluster.of("IngressRoute").apply(object("a", { status: { currentStatus: "valid" } }));
  cluster.of("Service").apply(object("a"));
  cluster.of("Service").apply(object("envoy", { status: { loadBalancer: {} } }));
  source.start();
  await eventuallySynced(told);
  cluster.of("IngressRoute").apply(object("a", { status: { currentStatus: "invalid" } }));
  cluster.of("IngressRoute").remove("n", "a");
  await eventually(() => expect(seen).toHaveLength(4));
  const resourceVersion: unknown = expect.stringMatching(/^\d+$/);
  expect(seen.sort(([a], [b]) => (a < b ? -1 : 1))).toEqual([
    ["IngressRoute/n/a", { uid: "a", resourceVersion, status: { currentStatus: "valid" } }],
    ["IngressRoute/n/a", { uid: "a", resourceVersion, status: { currentStatus: "invalid" } }],
    ["IngressRoute/n/a", undefined],
    ["Service/n/envoy", { uid: "envoy", resourceVersion, status: { loadBalancer: {} } }],
  ]);
  expect(source.locate()).toBeUndefined();
  expect(told.objects.has(objectKey("Service", "n", "a"))).toBe(true);
});

const refused = (status: number, message: string) =>
  new ApiError({ status, message, reason: "", causes: [], retryAfterMs: undefined });

test.each<[string, Error, readonly string[]]>([
  [
    "no API server",
    new ConnectionError("connect", "connect ECONNREFUSED 127.0.0.1:6443"),
    ["error: the API server cannot be reached: connect ECONNREFUSED 127.0.0.1:6443"],
  ],
  [
    "no credentials",
    refused(401, "401 Unauthorized: Unauthorized"),
    ["error: the API server does not believe who this is: 401 Unauthorized: Unauthorized"],
  ],
])("%s is told once, for all kinds", async (_, failure, problems) => {
  cluster.failure = failure;
  source.start();
  await eventually(() => expect(told.problems).toEqual(problems));
  cluster.failure = undefined;
  await eventuallySynced(told);
  await eventually(() => expect(told.problems).toEqual([]));
  cluster.failure = failure;
  for (const { kind } of KINDS) cluster.of(kind).endWatches();
  await eventually(() =>
    expect(told.problems).toEqual(problems.map((text) => `${text}; what was read before stays in service`)),
  );
});

test.each<[string, Error, string]>([
  [
    "not allowed",
    refused(403, "403 Forbidden: no"),
    "error: ingressroutes.contour.heptio.com cannot be read: the role of this controller needs the verbs list and watch for them: 403 Forbidden: no",
  ],
  [
    "not there",
    refused(404, "404 Not Found"),
    "error: ingressroutes.contour.heptio.com cannot be read: the API server has no such kind; is its CustomResourceDefinition installed?",
  ],
  [
    "out of order",
    refused(500, "500 Internal Server Error: etcd"),
    "error: ingressroutes.contour.heptio.com cannot be read: 500 Internal Server Error: etcd",
  ],
])("a kind that is %s is told by its name", async (_, failure, problem) => {
  const api = cluster.of("IngressRoute");
  const { request } = api;
  api.request = () => Promise.reject(failure);
  source.start();
  await eventually(() => expect(told.problems).toEqual([problem]));
  api.request = request;
  await eventuallySynced(told);
});

test("a kind that could be read is told to be forbidden when that lasts, not while an API server starts", async () => {
  let nowMs = 0;
  let errors = 0;
  const clock = { random: cluster.clock.random, sleep: cluster.clock.sleep, nowMs: () => nowMs };
  const observer = (kind: string, { kind: event }: { readonly kind: string }) => {
    if (kind === "Secret" && event === "error") errors++;
  };
  source = new KubernetesSource({ client: cluster, clock, observer }, told.listener);
  source.start();
  await eventuallySynced(told);
  await eventually(() => expect(cluster.of("Secret").openWatches).toBe(1));
  const forbid = () => {
    cluster.failure = refused(403, "403 Forbidden");
    cluster.of("Secret").endWatches();
  };
  forbid();
  await eventually(() => expect(errors).toBeGreaterThan(5));
  expect(told.problems).toEqual([]);
  nowMs = 9_000;
  cluster.failure = undefined;
  await eventually(() => expect(cluster.of("Secret").openWatches).toBe(1));
  // It counts anew, as it was over in between.
  nowMs = 60_000;
  errors = 0;
  forbid();
  await eventually(() => expect(errors).toBeGreaterThan(5));
  expect(told.problems).toEqual([]);
  nowMs = 70_000;
  await eventually(() => expect(told.problems).toEqual([expect.stringContaining("secrets cannot be read: the role")]));
  cluster.failure = undefined;
  await eventually(() => expect(told.problems).toEqual([]));
});
