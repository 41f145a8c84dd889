import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ServerCredentials } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { Cluster, type ClusterOptions } from "../../src/controller/cluster.ts";
import { createLog } from "../../src/controller/log.ts";
import { type RunningController, runController } from "../../src/controller/run.ts";
import { KubeClient } from "../../src/kube/client.ts";
import { loadKubeconfig } from "../../src/kube/kubeconfig.ts";
import { WRITER_DEFAULTS } from "../../src/status/writer.ts";
import { eventually } from "../envoy/harness.ts";
import { type Isoline, startIsoline } from "../envoy/isoline.ts";
import { describeWithEnvoy } from "../envoy/suite.ts";
import { type ApiServer, adminOf, kubeconfig, startApiServer, tokenBoundTo } from "../parts/api-server.ts";
import { deployed, installDefinitions } from "../parts/deploy.ts";
import { type FaultProxy, isWatch, startFaultProxy } from "../parts/fault-proxy.ts";
import type { KubeAdmin, KubeObject } from "../parts/kube-admin.ts";
import { DEFAULT_SETTINGS } from "../settings.ts";

const SOON_MS = 10_000;
const HOLD_MS = 1000;
const ROLE = { kind: "ClusterRole", name: "isoline" } as const;

/** One of its own: whoever leads writes to every object there is. */
let server: ApiServer;
let admin: KubeAdmin;
let proxy: FaultProxy;
let namespace: string;
let token: string;
const folder = mkdtempSync(join(tmpdir(), "isoline-status-"));

beforeAll(async () => {
  server = await startApiServer();
  admin = adminOf(server);
  await installDefinitions(admin);
  for (const object of deployed("rbac.yaml").filter(({ kind }) => kind === ROLE.kind)) await admin.apply(object);
  token = await tokenBoundTo(admin, "default", [ROLE]);
  proxy = await startFaultProxy(server);
});
afterAll(async () => {
  await proxy.stop();
  await admin.close();
  await server.stop();
  rmSync(folder, { recursive: true });
});
beforeEach(async () => {
  namespace = await admin.freshNamespace();
});
const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** A cluster behind the proxy, with the rights of the shipped role. */
function connect(loadBalancer: ClusterOptions["loadBalancer"] = { kind: "none" }, as = token) {
  const file = join(folder, "config");
  writeFileSync(file, kubeconfig(proxy, as));
  const client = new KubeClient(loadKubeconfig(file, { env: {} }), { userAgent: "isoline/test" });
  stops.push(() => client.close());
  const state = { leads: false, log: "" };
  const log = createLog({ level: "debug", format: "text" }, (text) => {
    state.log += text;
  });
  const cluster = new Cluster({ client, loadBalancer, instance: "test", isLeading: () => state.leads, log });
  stops.push(() => cluster.stop());
  const lead = (leads: boolean) => {
    state.leads = leads;
    cluster.leading(leads);
  };
  return { cluster, lead, log: () => state.log };
}

/** A replica without Envoys. */
async function startReplica(loadBalancer?: ClusterOptions["loadBalancer"], as?: string) {
  const connected = connect(loadBalancer, as);
  const { cluster } = connected;
  const running: RunningController = await runController({
    settings: DEFAULT_SETTINGS,
    xds: { address: "127.0.0.1", port: 0, credentials: ServerCredentials.createInsecure() },
    http: { address: "127.0.0.1", port: 0 },
    source: cluster.source,
    status: cluster.status,
    log: createLog({ level: "error", format: "text" }, () => {}),
    now: Date.now,
  });
  stops.push(() => running.stop());
  await eventually(() => running.controller.isSynced, SOON_MS);
  return { ...connected, running };
}

const root = (name: string, routes: unknown, metadata: object = {}): KubeObject => ({
  apiVersion: "contour.heptio.com/v1beta1",
  kind: "IngressRoute",
  metadata: { namespace, name, ...metadata },
  spec: { virtualhost: { fqdn: `${name}.${namespace}.example.com` }, routes },
});
const route = (more: object = {}) => [{ match: "/", services: [{ name: "web", port: 80, ...more }] }];
const service = (): KubeObject => ({
  apiVersion: "v1",
  kind: "Service",
  metadata: { namespace, name: "web" },
  spec: { clusterIP: "None", ports: [{ port: 80 }] },
});
const ingress = (name: string, more: object = {}): KubeObject => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "Ingress",
  metadata: { namespace, name, ...more },
  spec: {
    rules: [
      {
        host: `${name}.${namespace}.example.com`,
        http: {
          paths: [{ path: "/", pathType: "Prefix", backend: { service: { name: "web", port: { number: 80 } } } }],
        },
      },
    ],
  },
});

type Status = {
  readonly currentStatus?: string;
  readonly description?: string;
  readonly conditions?: readonly Readonly<Record<string, unknown>>[];
  readonly loadBalancer?: unknown;
};

async function statusOf(name: string, kind = "IngressRoute"): Promise<Status> {
  const found: KubeObject | undefined = await admin.get({ kind, namespace, name });
  return Object(found?.status);
}

async function conditionOf(name: string, type: string) {
  const { conditions = [] } = await statusOf(name);
  return conditions.find((condition) => condition.type === type);
}

/** The writes so far to statuses of this namespace, as the answers to them. */
const writes = (): readonly number[] =>
  proxy
    .requests()
    .filter(({ method, path }) => method === "PATCH" && path.includes(`/${namespace}/`))
    .map(({ status }) => status);

const becomes = async (name: string, status: string) =>
  eventually(async () => (await statusOf(name)).currentStatus === status, SOON_MS);

async function events(): Promise<readonly (readonly unknown[])[]> {
  const { items } = await admin.list("Event", namespace);
  return items
    .map((event) => [Object(event.involvedObject).name, event.type, event.reason, event.message])
    .sort((a, b) => (String(a) < String(b) ? -1 : 1));
}

/** Longer than a status is held back: for what is not to happen. */
const pause = () => new Promise((resolve) => setTimeout(resolve, HOLD_MS + 500));

describeWithEnvoy("statuses in a cluster with an Envoy", (binary) => {
  let isoline: Isoline;
  async function start() {
    const connected = connect();
    isoline = await startIsoline({ binary }, () => ({
      source: connected.cluster.source,
      status: connected.cluster.status,
    }));
    stops.push(() => isoline.stop());
    connected.lead(true);
    return connected;
  }

  test("tell once what became of an object, and that Envoy runs it", async () => {
    await start();
    await admin.apply(service());
    const { metadata } = await admin.apply(root("shop", route()));
    await becomes("shop", "valid");
    const { description, conditions = [] } = await statusOf("shop");
    expect(description).toBe("valid IngressRoute");
    const observedGeneration = metadata.generation;
    const lastTransitionTime: unknown = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(conditions).toEqual([
      {
        ...{ type: "Valid", status: "True", reason: "Valid", message: "valid IngressRoute" },
        ...{ observedGeneration, lastTransitionTime },
      },
      {
        ...{ type: "Programmed", status: "True", reason: "Accepted", message: "accepted by every connected Envoy" },
        ...{ observedGeneration, lastTransitionTime },
      },
    ]);
    expect(writes()).toEqual([200]);

    // A label is nobody's business, and neither is an Envoy that starts anew.
    await admin.patch({ kind: "IngressRoute", namespace, name: "shop" }, { metadata: { labels: { team: "a" } } });
    await isoline.restartEnvoy();
    await pause();
    expect(writes()).toEqual([200]);

    await admin.apply(root("shop", route({ weight: -1 })));
    await becomes("shop", "invalid");
    const words = 'route "/": service "web": weight must be greater than or equal to zero';
    expect(await statusOf("shop")).toMatchObject({ description: words });
    expect(await conditionOf("shop", "Programmed")).toMatchObject({ status: "False", reason: "NotServed" });
    await admin.apply(root("shop", route()));
    await becomes("shop", "valid");
    await pause();
    expect(writes()).toEqual([200, 200, 200]);
    await eventually(async () => (await events()).length === 2, SOON_MS);
    expect(await events()).toEqual([
      ["shop", "Normal", "Valid", "valid IngressRoute"],
      ["shop", "Warning", "Invalid", words],
    ]);
    expect(await conditionOf("shop", "Programmed")).toMatchObject({ status: "True" });
  });

  test("leave the conditions of others alone, and all of the status of objects of another class", async () => {
    await start();
    await admin.apply(service());
    const annotations = { "kubernetes.io/ingress.class": "other" };
    await admin.apply(root("theirs", route(), { annotations }));
    const theirs = { type: "Audited", status: "True", message: "by them" };
    await admin.patch(
      { kind: "IngressRoute", namespace, name: "theirs" },
      { status: { conditions: [theirs] } },
      "status",
    );
    await admin.apply(root("shop", route()));
    await becomes("shop", "valid");
    const { conditions = [] } = await statusOf("shop");
    await admin.patch(
      { kind: "IngressRoute", namespace, name: "shop" },
      { status: { conditions: [theirs, ...conditions], currentStatus: "stolen" } },
      "status",
    );
    await becomes("shop", "valid");
    expect(await conditionOf("shop", "Audited")).toEqual(theirs);
    expect(await statusOf("theirs")).toEqual({ conditions: [theirs] });
    // One that leaves keeps what it has.
    await admin.patch({ kind: "IngressRoute", namespace, name: "shop" }, { metadata: { annotations } });
    await pause();
    expect((await statusOf("shop")).currentStatus).toBe("valid");
    expect(writes()).toEqual([200, 200]);
  });

  test("come through a storm of refusals and a connection that is cut", async () => {
    const { log } = await start();
    await admin.apply(service());
    const isWrite = ({ method }: { readonly method: string }) => method === "PATCH";
    const storms = [
      proxy.answer({ status: 429, retryAfterSeconds: 1, match: isWrite }),
      proxy.answer({ status: 503, match: isWrite }),
    ];
    const names = Array.from({ length: 20 }, (_, i) => `r${i}`);
    for (const name of names) await admin.apply(root(name, route()));
    await eventually(() => writes().some((status) => status >= 400), SOON_MS);
    proxy.cut();
    for (const off of storms) off();
    for (const name of names) await becomes(name, "valid");
    await pause();
    expect(writes().filter((status) => status === 200).length).toBe(names.length);
    expect(log()).toContain("could not be written yet");
  });
});

test("an object of the same name that came later is not told of its predecessor", async () => {
  const { lead, log } = await startReplica();
  const { metadata } = await admin.apply(root("shop", route()));
  lead(true);
  await becomes("shop", "invalid");
  // The watch of IngressRoutes is blind: what is written from here on is for an object that is gone.
  const blind = proxy.answer({
    status: 503,
    match: (request) => isWatch(request) && request.path.endsWith("/ingressroutes"),
  });
  proxy.cut();
  await admin.remove({ kind: "IngressRoute", namespace, name: "shop" });
  await admin.apply(root("shop", route({ weight: -1 })));
  await admin.apply(service());
  await eventually(() => writes().includes(409), SOON_MS);
  expect(await statusOf("shop")).toEqual({});
  blind();
  await eventually(async () => (await statusOf("shop")).description?.includes("weight") === true, 4 * SOON_MS);
  expect(log()).not.toContain("refused a status");
  // This is what makes it sure: not the uid, but the version.
  const ref = { kind: "IngressRoute", namespace, name: "shop" };
  const by = (precondition: object) =>
    admin.patch(ref, { metadata: precondition, status: { description: "x" } }, "status");
  await expect(by({ resourceVersion: metadata.resourceVersion })).rejects.toMatchObject({ status: 409 });
  await expect(by({ uid: metadata.uid })).resolves.toBeDefined();
}, 60_000);

test("whoever leads next writes nothing that is there, and repeats no Event", async () => {
  const first = await startReplica();
  const second = await startReplica();
  await admin.apply(root("shop", route()));
  await admin.apply(ingress("orders"));
  await pause();
  expect(writes()).toEqual([]);
  first.lead(true);
  await becomes("shop", "invalid");
  await eventually(async () => (await events()).length === 2, SOON_MS);
  const told = [
    [
      "orders",
      "Warning",
      "ServiceNotFound",
      `route "orders.${namespace}.example.com/": service "web": no such Service in namespace "${namespace}"`,
    ],
    ["shop", "Warning", "Invalid", `route "/": service "web": no such Service in namespace "${namespace}"`],
  ];
  expect(await events()).toEqual(told);
  // Without an Envoy, that is what there is to say.
  expect(await conditionOf("shop", "Programmed")).toMatchObject({ status: "Unknown", reason: "NoEnvoy" });
  first.lead(false);
  second.lead(true);
  const made = () =>
    proxy.requests().filter(({ method, path }) => method === "POST" && path.includes(`/${namespace}/`)).length;
  await eventually(() => made() === 3, SOON_MS);
  await pause();
  expect(await events()).toEqual(told);
  expect(writes()).toEqual([200]);
  await admin.apply(service());
  await becomes("shop", "valid");
  // It is there before the proxy has passed on the answer.
  await eventually(() => writes().length > 1, SOON_MS);
  expect(writes()).toEqual([200, 200]);
});

test("an Ingress gets the addresses of a Service, and one of another class none", async () => {
  const { lead } = await startReplica({ kind: "service", namespace, name: "edge" });
  lead(true);
  await admin.apply(service());
  await admin.apply(ingress("orders"));
  await admin.apply(ingress("theirs", { annotations: { "kubernetes.io/ingress.class": "other" } }));
  const edge = { kind: "Service", namespace, name: "edge" };
  await admin.apply({
    ...service(),
    metadata: { namespace, name: "edge" },
    spec: { type: "LoadBalancer", ports: [{ port: 80 }] },
  });
  const loadBalancer = { ingress: [{ ip: "192.0.2.7" }] };
  await admin.patch(edge, { status: { loadBalancer } }, "status");
  await eventually(async () => (await statusOf("orders", "Ingress")).loadBalancer !== undefined, SOON_MS);
  await eventually(
    async () => JSON.stringify((await statusOf("orders", "Ingress")).loadBalancer) === JSON.stringify(loadBalancer),
    SOON_MS,
  );
  expect((await statusOf("theirs", "Ingress")).loadBalancer).toEqual({});
  expect(writes().at(-1)).toBe(200);
  expect(writes().length).toBe(1);
});

test("hundreds of statuses at once are one write each", async () => {
  const { lead } = await startReplica();
  await admin.apply(service());
  const names = Array.from({ length: 300 }, (_, i) => `r${i}`);
  await Promise.all(names.map((name) => admin.apply(root(name, route()))));
  lead(true);
  await eventually(
    async () => (await admin.list("IngressRoute", namespace)).items.every(({ status }) => status !== undefined),
    30_000,
  );
  await pause();
  expect(writes().length).toBe(names.length);
  expect(new Set(writes())).toEqual(new Set([200]));
}, 60_000);

test("a tenant who fights over a status costs its rate, no Events, and nobody else's time", async () => {
  const { lead } = await startReplica();
  lead(true);
  await admin.apply(service());
  await admin.apply(root("fought", route()));
  await becomes("fought", "valid");
  const fought = { kind: "IngressRoute", namespace, name: "fought" };
  const startMs = performance.now();
  let isOver = false;
  const fight = (async () => {
    for (let i = 0; !isOver; i++) {
      const status = { currentStatus: i % 2 === 0 ? "invalid" : "orphaned", description: `${i}` };
      await admin.patch(fought, { status }, "status");
    }
  })();
  const [before, theirs] = [namespace, await admin.freshNamespace()];
  namespace = theirs;
  await admin.apply(root("peaceful", route()));
  await becomes("peaceful", "invalid");
  namespace = before;
  await eventually(() => performance.now() - startMs > 5000, SOON_MS);
  isOver = true;
  await fight;
  const seconds = (performance.now() - startMs) / 1000;
  expect(writes().length).toBeGreaterThan(5);
  expect(writes().length).toBeLessThanOrEqual(1 + WRITER_DEFAULTS.objectBurst + seconds);
  await becomes("fought", "valid");
  expect(await events()).toEqual([]);
}, 60_000);

test("an object that has no room for its status is told so by an Event", async () => {
  const { lead } = await startReplica();
  lead(true);
  const etcdTakes = 1.5 * 1024 * 1024;
  // As large as it can be, within less than a status.
  for (let padding = etcdTakes; ; padding -= 250) {
    const full = root("full", route());
    const spec = { ...Object(full.spec), padding: "x".repeat(padding) };
    const isMade = await admin.create({ ...full, spec }).then(
      () => true,
      () => false,
    );
    if (isMade) break;
    expect(padding).toBeGreaterThan(etcdTakes - 10_000);
  }
  await eventually(async () => (await events()).length === 1, SOON_MS);
  const [[name, type, reason, note] = []] = await events();
  expect([name, type, reason]).toEqual(["full", "Warning", "StatusRefused"]);
  expect(note).toMatch(/too large.*which is: invalid: route "\/"/);
  expect(await statusOf("full")).toEqual({});
  await admin.apply(root("small", route()));
  await becomes("small", "invalid");
}, 60_000);

test("a right that is missing is named once", async () => {
  const [role] = deployed("rbac.yaml").filter(({ kind }) => kind === ROLE.kind);
  if (role === undefined) throw new Error("no role is shipped");
  const rules: readonly { readonly verbs: readonly string[] }[] = Object(role.rules);
  const reading = rules.filter(({ verbs }) => verbs.includes("list"));
  await admin.apply({ ...role, metadata: { name: "reads-only" }, rules: reading });
  const as = await tokenBoundTo(admin, "default", [{ kind: "ClusterRole", name: "reads-only" }]);
  const { lead, log } = await startReplica(undefined, as);
  lead(true);
  for (const name of ["a", "b", "c"]) await admin.apply(root(name, route()));
  await admin.apply(ingress("orders"));
  const tells = (words: string) =>
    log().split(`the role of this controller needs the right to ${words}: 403`).length - 1;
  await eventually(() => tells("create events in events.k8s.io") === 1, SOON_MS);
  await eventually(() => writes().filter((status) => status === 403).length > 6, SOON_MS);
  expect(tells("patch ingressroutes/status in contour.heptio.com")).toBe(1);
  expect(log()).not.toContain("could not be written yet");
});

test("the columns of kubectl show the status", async () => {
  const { lead } = await startReplica();
  lead(true);
  await admin.apply(root("shop", route()));
  await becomes("shop", "invalid");
  const table = await admin.request<{
    readonly columnDefinitions: readonly { readonly name: string }[];
    readonly rows: readonly { readonly cells: readonly unknown[] }[];
  }>({
    method: "GET",
    path: `/apis/contour.heptio.com/v1beta1/namespaces/${namespace}/ingressroutes`,
    accept: "application/json;as=Table;v=v1;g=meta.k8s.io",
  });
  const at = (name: string) => table.columnDefinitions.findIndex((column) => column.name === name);
  expect(table.rows[0]?.cells[at("Status")]).toBe("invalid");
  expect(table.rows[0]?.cells[at("Status Description")]).toContain("no such Service");
});
