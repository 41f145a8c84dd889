import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { KINDS } from "../../src/api/kinds.ts";
import { KubeClient } from "../../src/kube/client.ts";
import { loadKubeconfig } from "../../src/kube/kubeconfig.ts";
import type { ReflectorEvent } from "../../src/kube/reflector.ts";
import { KubernetesSource } from "../../src/sources/kubernetes.ts";
import {
  type ApiServer,
  adminOf,
  kubeconfig,
  serviceAccountToken,
  shortToken,
  startApiServer,
  tokenBoundTo,
} from "../parts/api-server.ts";
import { installDefinitions } from "../parts/deploy.ts";
import { isWatch, startFaultProxy } from "../parts/fault-proxy.ts";
import { KubeAdmin, type KubeObject } from "../parts/kube-admin.ts";
import { sourceSuite } from "../sources/suite.ts";
import { eventually, eventuallySynced, Told } from "../sources/told.ts";
import { sharedCluster, sharedServer } from "./suite.ts";

const folder = mkdtempSync(join(tmpdir(), "isoline-source-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** A client with that token, by way of a kubeconfig. */
function clientOf(server: { readonly url: string; readonly caPem: string }, token: string): KubeClient {
  return clientWith(kubeconfig(server, token));
}

function clientWith(config: string): KubeClient {
  const file = join(folder, "config");
  writeFileSync(file, config);
  return new KubeClient(loadKubeconfig(file, { env: {} }), { userAgent: "isoline/test" });
}

sourceSuite("a real API server", async () => {
  const admin = sharedCluster();
  const client = clientOf(sharedServer(), sharedServer().adminToken);
  const remove = async (objects: readonly KubeObject[]) => {
    for (const { kind, metadata } of objects) {
      await admin.remove({ kind, name: metadata.name, namespace: metadata.namespace ?? "" });
    }
  };
  return {
    namespaces: [await admin.freshNamespace(), await admin.freshNamespace()],
    apply: async (objects) => void (await Promise.all(objects.map((object) => admin.apply(object)))),
    remove,
    // Nobody empties a namespace here: that is the work of a controller.
    removeNamespace: async (namespace) => {
      for (const { kind, isClusterScoped } of KINDS) {
        if (isClusterScoped) continue;
        const { items } = await admin.list(kind, namespace);
        await remove(items.map((item) => ({ ...item, kind })));
      }
    },
    touch: async ({ kind, metadata: { namespace, name } }) => {
      await admin.patch({ kind, namespace, name }, { metadata: { labels: { touched: "yes" } } });
      if (kind === "IngressRoute")
        await admin.patch({ kind, namespace, name }, { status: { currentStatus: "valid" } }, "status");
    },
    source: (listener) => new KubernetesSource({ client }, listener),
    stop: async () => {
      await client.close();
      await admin.close();
    },
  };
});

/** A source with rights of its own and counters of what it asks for. */
class Watched {
  readonly told = new Told();
  readonly counts = { list: 0, watch: 0, heard: 0, error: 0 };
  readonly errors: string[] = [];
  readonly #client: KubeClient;
  readonly #source: KubernetesSource;

  constructor(client: KubeClient, options: { readonly idleMs?: number } = {}) {
    this.#client = client;
    const observer = (kind: string, event: ReflectorEvent) => {
      this.counts[event.kind]++;
      if (event.kind === "error") this.errors.push(`${kind} ${event.label}`);
    };
    this.#source = new KubernetesSource({ client, observer, ...options }, this.told.listener);
    this.#source.start();
  }

  async synced(): Promise<this> {
    await eventuallySynced(this.told);
    // Of each kind, its list and the beginning of its watch.
    await eventually(() => expect(this.counts.heard).toBeGreaterThanOrEqual(2 * KINDS.length));
    return this;
  }

  /** Resolves when what is changed now is known. */
  async knows(admin: KubeAdmin, namespace: string): Promise<void> {
    const name = `service-${this.told.batches.length}`;
    await admin.apply(service(namespace, name));
    await eventually(() => expect(this.told.names).toContain(name));
  }

  async stop(): Promise<void> {
    await this.#source.stop();
    await this.#client.close();
  }
}

function service(namespace: string, name: string): KubeObject {
  const spec = { clusterIP: "None", ports: [{ port: 80 }] };
  return { apiVersion: "v1", kind: "Service", metadata: { namespace, name }, spec };
}

const started: { readonly stop: () => Promise<void> }[] = [];
afterEach(async () => {
  for (const one of started.splice(0).reverse()) await one.stop();
});
function use<T extends { readonly stop: () => Promise<void> }>(one: T): T {
  started.push(one);
  return one;
}

describe("the connections to the API server", () => {
  const admin = sharedCluster();
  afterAll(() => admin.close());
  const faulty = async (options = {}) => {
    const namespace = await admin.freshNamespace();
    const proxy = use(await startFaultProxy(sharedServer()));
    const source = use(new Watched(clientOf(proxy, sharedServer().adminToken), options));
    return { namespace, proxy, source: await source.synced() };
  };

  test("may be cut again and again: nothing is missed, and nothing is listed anew", async () => {
    const { namespace, proxy, source } = await faulty();
    const names = Array.from({ length: 30 }, (_, i) => `s${i}`);
    for (const [i, name] of names.entries()) {
      await admin.apply(service(namespace, name));
      if (i % 5 === 2) proxy.cut();
    }
    await eventually(() => expect(source.told.names).toEqual(expect.arrayContaining(names)));
    expect(source.counts.list).toBe(KINDS.length);
    expect(source.counts.watch).toBeGreaterThan(KINDS.length);
    const batches = source.told.batches.flat().map(({ key }) => key);
    expect(new Set(batches).size, "each is told once").toBe(batches.length);
  });

  test("may die without a word: the silence is noticed, and nothing is listed anew", async () => {
    const { namespace, proxy, source } = await faulty({ idleMs: 1_500 });
    proxy.silence();
    await admin.apply(service(namespace, "unheard"));
    await eventually(() => expect(source.told.names).toContain("unheard"));
    expect(source.errors).toContain("Service timeout");
    expect(source.counts.list).toBe(KINDS.length);
  });

  test("may carry what cannot be read: what it was about is listed", async () => {
    const { namespace, proxy, source } = await faulty();
    const readable = proxy.garble({ match: (request) => isWatch(request) && request.path.endsWith("/services") });
    proxy.cut();
    await admin.apply(service(namespace, "unreadable"));
    await eventually(() => expect(source.told.names).toContain("unreadable"));
    expect(source.errors.filter((error) => error === "Service garbled").length).toBeGreaterThanOrEqual(3);
    expect(source.counts.list).toBeGreaterThan(KINDS.length);
    readable();
    await source.knows(admin, namespace);
  }, 60_000);

  test("may be slow", async () => {
    const proxy = use(await startFaultProxy(sharedServer()));
    proxy.slow({ bytesPerSecond: 20_000 });
    await use(new Watched(clientOf(proxy, sharedServer().adminToken))).synced();
  });

  test("outlive a token: the file is read again when the API server does not take the old one", async () => {
    const server = sharedServer();
    const namespace = await admin.freshNamespace();
    const account = { namespace, name: "isoline" };
    const name = `admin-${namespace}`;
    const subjects = [{ kind: "ServiceAccount", ...account }];
    const roleRef = { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "cluster-admin" };
    const apiVersion = "rbac.authorization.k8s.io/v1";
    await admin.apply({ apiVersion, kind: "ClusterRoleBinding", metadata: { name }, roleRef, subjects });
    const tokenFile = join(folder, "token");
    const token = await shortToken(server, admin, account, 3);
    writeFileSync(tokenFile, token);
    const proxy = use(await startFaultProxy(server));
    const config = JSON.parse(kubeconfig(proxy, ""));
    const users = [{ name: config.users[0].name, user: { tokenFile } }];
    const client = clientWith(JSON.stringify({ ...config, users }));
    const source = await use(new Watched(client)).synced();
    const expired = new KubeAdmin({ url: server.url, caPem: server.caPem, token });
    await eventually(() => expect(expired.list("Service", namespace)).rejects.toMatchObject({ status: 401 }), 30_000);
    await expired.close();
    writeFileSync(tokenFile, await serviceAccountToken(admin, account));
    proxy.cut();
    await admin.apply(service(namespace, "believed"));
    await eventually(() => expect(source.told.names).toContain("believed"));
    expect(source.errors).not.toContain("Service 401");
    expect(source.counts.list).toBe(KINDS.length);
  }, 60_000);

  test("may refuse and break off lists: it is synced when that is over", async () => {
    const proxy = use(await startFaultProxy(sharedServer()));
    const storm = proxy.answer({ status: 429, retryAfterSeconds: 1 });
    const source = use(new Watched(clientOf(proxy, sharedServer().adminToken)));
    await eventually(() => expect(source.counts.error).toBeGreaterThanOrEqual(KINDS.length));
    storm();
    const torn = proxy.truncate({ afterBytes: 10, match: ({ path }) => path.endsWith("/services") });
    await eventually(() => expect(source.errors).toContain("Service cut"));
    expect(source.told.synced).toBe(0);
    torn();
    await source.synced();
  });

  test("are few", async () => {
    const { proxy } = await faulty();
    expect(proxy.openConnections()).toBeLessThanOrEqual(2 * KINDS.length);
  });
});

describe("an API server that is restarted", () => {
  let server: ApiServer;
  let admin: KubeAdmin;
  beforeAll(async () => {
    server = await startApiServer();
    admin = adminOf(server);
    await installDefinitions(admin);
  }, 60_000);
  afterAll(async () => {
    await admin.close();
    await server.stop();
  });

  test("is told of while it is away; afterwards nothing was missed, and what is told is what is different", async () => {
    const namespace = await admin.freshNamespace();
    for (const name of ["a", "b", "c"]) await admin.apply(service(namespace, name));
    const source = await use(new Watched(clientOf(server, server.adminToken))).synced();
    await server.kill();
    await eventually(() => expect(source.told.problems).toHaveLength(1));
    expect(source.told.problems[0]).toMatch(
      /^error: the API server cannot be reached: .*; what was read before stays in service$/,
    );
    expect(source.told.names).toEqual(expect.arrayContaining(["a", "b", "c"]));
    await server.start();
    const before = source.told.batches.length;
    await admin.remove({ kind: "Service", namespace, name: "b" });
    await admin.apply(service(namespace, "d"));
    await eventually(() => expect(source.told.names).toEqual(expect.arrayContaining(["a", "c", "d"])));
    await eventually(() => expect(source.told.names).not.toContain("b"));
    await eventually(() => expect(source.told.problems).toEqual([]));
    const later = source.told.batches.slice(before).flatMap((batch) => batch.map(({ kind, key }) => `${kind} ${key}`));
    expect(later.filter((told) => told.includes(namespace)).sort()).toEqual([
      `applied Service/${namespace}/d`,
      `deleted Service/${namespace}/b`,
    ]);
  });

  test("answers 410 to those who were away for too long: they list anew", async () => {
    const namespace = await admin.freshNamespace();
    const proxy = use(await startFaultProxy(server));
    await admin.apply(service(namespace, "away-a"));
    const source = await use(new Watched(clientOf(proxy, server.adminToken))).synced();
    const lists = source.counts.list;
    const heal = proxy.partition();
    await admin.apply(service(namespace, "away-b"));
    await admin.remove({ kind: "Service", namespace, name: "away-a" });
    // What a server knows of the past begins with its start.
    await server.restart();
    heal();
    proxy.cut();
    await eventually(() => expect(source.told.names).toContain("away-b"));
    await eventually(() => expect(source.told.names).not.toContain("away-a"));
    expect(source.counts.list).toBeGreaterThan(lists);
    expect(source.errors).toContain("Service 410");
  });
});

test("a right that is missing is told, by the name of the kind", async () => {
  const admin = sharedCluster();
  const namespace = await admin.freshNamespace();
  const name = `reader-${namespace}`;
  const rules = KINDS.filter(({ kind }) => kind !== "Secret").map(({ apiVersions: [first = ""], plural }) => {
    const [group = ""] = first.includes("/") ? first.split("/") : [];
    return { apiGroups: [group], resources: [plural], verbs: ["list", "watch"] };
  });
  const role = { apiVersion: "rbac.authorization.k8s.io/v1", kind: "ClusterRole", metadata: { name }, rules };
  await admin.apply(role);
  const token = await tokenBoundTo(admin, namespace, [{ kind: "ClusterRole", name }]);
  const source = use(new Watched(clientOf(sharedServer(), token)));
  await eventually(() =>
    expect(source.told.problems).toEqual([
      expect.stringMatching(
        /^error: secrets cannot be read: the role of this controller needs the verbs list and watch for them: 403 Forbidden: secrets is forbidden: /,
      ),
    ]),
  );
  expect(source.told.synced).toBe(0);
  const secrets = { apiGroups: [""], resources: ["secrets"], verbs: ["list", "watch"] };
  await admin.apply({ ...role, rules: [...rules, secrets] });
  await source.synced();
  await eventually(() => expect(source.told.problems).toEqual([]));
  await admin.close();
});

test("Secrets of types that cannot matter never arrive", async () => {
  const admin = sharedCluster();
  const namespace = await admin.freshNamespace();
  const secret = (name: string, type: string) => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: { namespace, name },
    type,
  });
  const source = await use(new Watched(clientOf(sharedServer(), sharedServer().adminToken))).synced();
  await admin.create(secret("release", "helm.sh/release.v1"));
  await admin.create(secret("opaque", "Opaque"));
  await eventually(() => expect(source.told.names).toContain("opaque"));
  expect(source.told.names).not.toContain("release");
  await admin.close();
});
