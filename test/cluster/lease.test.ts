import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import { KubeClient } from "../../src/kube/client.ts";
import { DeclaredCredentials, fixedText } from "../../src/kube/credentials.ts";
import { type ElectionReport, type ElectionTimings, LeaderElector, type Need } from "../../src/kube/lease.ts";
import { eventually } from "../envoy/harness.ts";
import { adminOf, startApiServer, tokenBoundTo } from "../parts/api-server.ts";
import { deployed } from "../parts/deploy.ts";
import { startFaultProxy } from "../parts/fault-proxy.ts";
import type { KubeAdmin, KubeObject } from "../parts/kube-admin.ts";
import { sharedCluster, sharedServer } from "./suite.ts";

const NAME = "isoline";
const TIMINGS: ElectionTimings = { leaseMs: 3_000, renewMs: 2_000, retryMs: 300, requestMs: 1_000, releaseMs: 1_000 };
/** Long enough for whatever is to happen, however busy the machine is. */
const PATIENCE_MS = 15_000;

type Server = { readonly url: string; readonly caPem: string };

type Elector = {
  readonly identity: string;
  readonly isLeading: () => boolean;
  /** What it was told, and when by the process's clock. */
  readonly changes: { readonly isLeading: boolean; readonly atMs: number }[];
  readonly reports: ElectionReport[];
  readonly requests: () => number;
  readonly stop: () => Promise<void>;
};

const cluster = sharedCluster();
afterAll(() => cluster.close());

let namespace: string;
let running: Elector[];
/** Those who led at one time. */
let clashes: string[];
let watching: NodeJS.Timeout;

beforeEach(async () => {
  namespace = await cluster.freshNamespace();
  running = [];
  clashes = [];
  watching = setInterval(() => {
    const leaders = running.filter(({ isLeading }) => isLeading());
    if (leaders.length > 1) clashes.push(leaders.map(({ identity }) => identity).join(" and "));
  }, 2);
});
afterEach(async () => {
  await Promise.all(running.map(({ stop }) => stop()));
  clearInterval(watching);
  expect(clashes).toEqual([]);
});

function start(
  identity: string,
  { server = sharedServer(), token = sharedServer().adminToken, skewMs = 0, need = "neither" }: Options = {},
): Elector {
  const client = new KubeClient(
    {
      server: server.url,
      tls: { authority: fixedText(server.caPem), serverName: undefined, isInsecure: false },
      credentials: new DeclaredCredentials({ token: fixedText(token) }),
      namespace: undefined,
    },
    { userAgent: "isoline/test" },
  );
  const changes: { readonly isLeading: boolean; readonly atMs: number }[] = [];
  const reports: ElectionReport[] = [];
  let requests = 0;
  const elector = new LeaderElector({
    client: {
      request: (request) => {
        requests++;
        return client.request(request);
      },
    },
    namespace,
    name: NAME,
    identity,
    need: () => need,
    timings: TIMINGS,
    clock: {
      now: () => Date.now() + skewMs,
      monotonicMs: () => performance.now(),
      after: (ms, work) => {
        const timer = setTimeout(work, ms);
        return () => clearTimeout(timer);
      },
    },
    random: Math.random,
    onChange: (isLeading) => changes.push({ isLeading, atMs: performance.now() }),
    observer: (report) => reports.push(report),
  });
  elector.start();
  const one: Elector = {
    identity,
    isLeading: () => elector.isLeading,
    changes,
    reports,
    requests: () => requests,
    stop: async () => {
      await elector.stop();
      await client.close();
    },
  };
  running.push(one);
  return one;
}

type Options = { readonly server?: Server; readonly token?: string; readonly skewMs?: number; readonly need?: Need };

/** A Lease that nobody holds, so that nobody waits. */
async function freeLease(admin: KubeAdmin = cluster): Promise<void> {
  for (const lease of deployed("lease.yaml")) {
    await admin.apply({ ...lease, metadata: { ...lease.metadata, namespace } });
  }
}

async function leads({ isLeading }: Elector): Promise<void> {
  await eventually(isLeading, PATIENCE_MS);
}

async function specOf(admin: KubeAdmin = cluster): Promise<Readonly<Record<string, unknown>>> {
  const lease: KubeObject | undefined = await admin.get({ kind: "Lease", namespace, name: NAME });
  return Object(lease?.spec);
}

function kinds({ reports }: Elector): readonly string[] {
  return reports.map(({ kind }) => kind);
}

/** Resolves when it has asked for something so often that this time is over. */
async function attempts(elector: Elector, ms: number): Promise<void> {
  const wanted = elector.requests() + Math.ceil(ms / TIMINGS.retryMs);
  await eventually(() => elector.requests() >= wanted, PATIENCE_MS);
}

describe("two replicas and an API server", () => {
  test("one that has nothing to lead for hands over to one that has", async () => {
    await freeLease();
    const a = start("a", { need: "yield" });
    await leads(a);
    const b = start("b", { need: "lead" });
    await leads(b);
    await attempts(a, 2 * TIMINGS.leaseMs);
    expect(kinds(a)).toEqual(["yielded", "other"]);
    expect(b.changes).toHaveLength(1);
    const { metadata } = (await cluster.get({ kind: "Lease", namespace, name: NAME })) ?? { metadata: {} };
    expect(metadata).not.toHaveProperty("annotations.isoline/idle");
    expect(metadata).not.toHaveProperty("annotations.isoline/wanted-by");
  });

  test("one leads, and hands over when it stops", async () => {
    await freeLease();
    const a = start("a");
    await leads(a);
    const b = start("b");
    await eventually(() => kinds(b).includes("other"), PATIENCE_MS);
    expect(b.reports).toEqual([{ kind: "other", holder: "a" }]);
    const before = await specOf();
    expect(before).toMatchObject({ holderIdentity: "a", leaseDurationSeconds: 3, leaseTransitions: 1 });
    await eventually(async () => (await specOf()).renewTime !== before.renewTime, PATIENCE_MS);
    expect((await specOf()).acquireTime).toBe(before.acquireTime);
    await a.stop();
    const stoppedMs = performance.now();
    await leads(b);
    // It did not wait for the Lease to run out.
    expect(performance.now() - stoppedMs).toBeLessThan(TIMINGS.renewMs);
    expect(await specOf()).toMatchObject({ holderIdentity: "b", leaseTransitions: 2 });
    await b.stop();
    expect(await specOf()).toMatchObject({ holderIdentity: "" });
  });

  test("where there is no Lease, one is made, and led by after it has stood still", async () => {
    const startMs = performance.now();
    const a = start("a");
    const b = start("b");
    await eventually(() => a.isLeading() || b.isLeading(), PATIENCE_MS);
    expect(performance.now() - startMs).toBeGreaterThan(TIMINGS.leaseMs);
    expect([...kinds(a), ...kinds(b)]).toContain("created");
  });

  test("whose clocks differ by two hours", async () => {
    await freeLease();
    const a = start("a", { skewMs: -3_600_000 });
    await leads(a);
    const b = start("b", { skewMs: 3_600_000 });
    await attempts(b, TIMINGS.leaseMs + 1_000);
    expect(a.changes).toHaveLength(1);
    expect(b.changes).toEqual([]);
    await a.stop();
    await leads(b);
  });

  test("and a network that falls apart: the leader stops first, then the other leads", async () => {
    await freeLease();
    const proxy = await startFaultProxy(sharedServer());
    const a = start("a", { server: proxy });
    await leads(a);
    const b = start("b");
    await eventually(() => kinds(b).includes("other"), PATIENCE_MS);
    const heal = proxy.partition();
    await leads(b);
    const [, stopped] = a.changes;
    const [began] = b.changes;
    expect(stopped?.isLeading).toBe(false);
    // Half of what lies between a lead and a Lease, for a busy machine.
    expect((began?.atMs ?? 0) - (stopped?.atMs ?? 0)).toBeGreaterThan((TIMINGS.leaseMs - TIMINGS.renewMs) / 2);
    heal();
    await eventually(() => kinds(a).includes("recovered"), PATIENCE_MS);
    expect(kinds(a)).toContain("other");
    expect(a.isLeading()).toBe(false);
    expect(b.changes).toHaveLength(1);
    await a.stop();
    await proxy.stop();
  });

  test("and a leader whose connections die without a word, which opens others", async () => {
    await freeLease();
    const proxy = await startFaultProxy(sharedServer());
    const a = start("a", { server: proxy });
    await leads(a);
    proxy.silence();
    await eventually(() => kinds(a).includes("recovered"), PATIENCE_MS);
    await leads(a);
    expect((await specOf()).leaseTransitions).toBe(1);
    await a.stop();
    await proxy.stop();
  });

  test("and a Lease that is deleted under the leader, who goes on", async () => {
    await freeLease();
    const a = start("a");
    await leads(a);
    const b = start("b");
    await eventually(() => kinds(b).includes("other"), PATIENCE_MS);
    for (let time = 0; time < 3; time++) {
      await cluster.remove({ kind: "Lease", namespace, name: NAME });
      await eventually(async () => (await specOf()).holderIdentity === "a", PATIENCE_MS);
      await attempts(b, 2 * TIMINGS.retryMs);
    }
    await attempts(b, TIMINGS.leaseMs + 1_000);
    expect(a.changes).toHaveLength(1);
    expect(b.changes).toEqual([]);
  });

  test("and a Lease that is deleted while nobody reaches the leader: the other makes one, and waits", async () => {
    await freeLease();
    const proxy = await startFaultProxy(sharedServer());
    const a = start("a", { server: proxy });
    await leads(a);
    const b = start("b");
    await eventually(() => kinds(b).includes("other"), PATIENCE_MS);
    const heal = proxy.partition();
    await cluster.remove({ kind: "Lease", namespace, name: NAME });
    await eventually(() => kinds(b).includes("created"), PATIENCE_MS);
    await leads(b);
    expect(a.isLeading()).toBe(false);
    heal();
    await a.stop();
    await proxy.stop();
  });

  test.each([429, 500])("and answers of %i for a while", async (status) => {
    await freeLease();
    const proxy = await startFaultProxy(sharedServer());
    const a = start("a", { server: proxy });
    await leads(a);
    const off = proxy.answer({ status });
    await eventually(() => !a.isLeading(), PATIENCE_MS);
    expect(a.reports[0]).toMatchObject({ kind: "trouble", error: { status } });
    off();
    await leads(a);
    await a.stop();
    await proxy.stop();
  });
});

test("a replica without rights says so, and leads when it has those of the shipped role", async () => {
  await freeLease();
  const token = await tokenBoundTo(cluster, namespace, [{ kind: "Role", name: NAME }]);
  const a = start("a", { token });
  await eventually(() => a.reports.length > 1, PATIENCE_MS);
  expect(a.reports[0]).toMatchObject({ kind: "trouble", error: { status: 403 } });
  for (const role of deployed("rbac.yaml").filter(({ kind }) => kind === "Role")) {
    await cluster.apply({ ...role, metadata: { ...role.metadata, namespace } });
  }
  await leads(a);
  await cluster.remove({ kind: "Lease", namespace, name: NAME });
  await eventually(async () => (await specOf()).holderIdentity === "a", PATIENCE_MS);
  expect(a.isLeading()).toBe(true);
});

test("without an API server nobody leads, and afterwards somebody does", async () => {
  const server = await startApiServer();
  const admin = adminOf(server);
  try {
    namespace = await admin.freshNamespace();
    await freeLease(admin);
    const a = start("a", { server, token: server.adminToken });
    await leads(a);
    await server.kill();
    await eventually(() => !a.isLeading(), PATIENCE_MS);
    await server.start();
    await leads(a);
    expect(await specOf(admin)).toMatchObject({ holderIdentity: "a", leaseTransitions: 1 });
    await a.stop();
  } finally {
    await admin.close();
    await server.stop();
  }
});
