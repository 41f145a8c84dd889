import { beforeEach, describe, expect, test } from "vitest";
import { ModelLeases, Replica, type ReplicaOptions, Timeline } from "./election-world.ts";

/** How soon a replica has noticed and done what is to be done, if all is well: an attempt with its jitter, and messages. */
const SOON_MS = 2_500;
const RENEW_MS = 10_000;
const LEASE_MS = 15_000;

let timeline: Timeline;
let leases: ModelLeases;

beforeEach(() => {
  timeline = new Timeline();
  leases = new ModelLeases();
  leases.put({ metadata: { name: "leader" } });
});

function replica(identity: string, options: Partial<ReplicaOptions> = {}): Replica {
  return new Replica({ timeline, leases, identity, ...options });
}

async function started(identity: string, options: Partial<ReplicaOptions> = {}): Promise<Replica> {
  const one = replica(identity, options);
  one.elector.start();
  await timeline.pass(100);
  return one;
}

/** A leader that has just been renewed, and another replica that has seen it. */
async function leaderAndOther(options: Partial<ReplicaOptions> = {}): Promise<readonly [Replica, Replica]> {
  const a = await started("a", options);
  const b = await started("b", options);
  expect([a.isLeading, b.isLeading]).toEqual([true, false]);
  return [a, b];
}

function spec(): unknown {
  return leases.lease?.spec;
}

function writes(): readonly string[] {
  return leases.requests.map(({ method }) => method).filter((method) => method !== "GET");
}

/** How long it goes on leading when nothing reaches it any more. */
async function leadsFor(leader: Replica): Promise<number> {
  leader.partition(true, true);
  const startMs = timeline.nowMs;
  while (leader.isLeading) await timeline.pass(100);
  return timeline.nowMs - startMs;
}

describe("a leader that has nothing to lead for", () => {
  test("hands over to one that has, and does not take it back", async () => {
    const [a, b] = await leaderAndOther();
    a.need = "yield";
    b.need = "lead";
    await timeline.pass(3 * SOON_MS);
    expect([a.isLeading, b.isLeading]).toEqual([false, true]);
    await timeline.pass(3 * LEASE_MS);
    expect([a.changes, b.changes]).toEqual([[true, false], [true]]);
    expect(leases.lease?.metadata.annotations).toEqual({});
  });

  test("stops before anybody can know that it has released the Lease, however late it is told so itself", async () => {
    const isReleased = () => leases.lease?.spec?.holderIdentity === "";
    const a = await started("a", { delayMs: (to) => (to === "answers" && isReleased() ? 4000 : 5) });
    const b = await started("b");
    a.need = "yield";
    b.need = "lead";
    await timeline.pass(2 * LEASE_MS, () => expect(a.isLeading && b.isLeading).toBe(false));
    expect([a.changes, b.changes]).toEqual([[true, false], [true]]);
  });

  test("goes on where nobody else has, and is asked nothing", async () => {
    const [a, b] = await leaderAndOther();
    a.need = "yield";
    await timeline.pass(LEASE_MS);
    b.need = "yield";
    await timeline.pass(LEASE_MS);
    expect(a.changes).toEqual([true]);
    expect(b.changes).toEqual([]);
    expect(new Set(leases.requests.map(({ method }) => method))).toEqual(new Set(["GET", "PUT"]));
    expect(leases.lease?.metadata.annotations).toEqual({ "isoline/idle": "true" });
  });

  test("is asked once, and goes on if it has something again", async () => {
    const [a, b] = await leaderAndOther();
    a.need = "yield";
    b.need = "lead";
    await eventuallyAnnotated("isoline/wanted-by");
    a.need = "lead";
    await timeline.pass(2 * LEASE_MS);
    expect(a.changes).toEqual([true]);
    expect(leases.lease?.metadata.annotations).toEqual({});
  });

  test("hands over to nobody who has nothing either", async () => {
    const [a, c] = await leaderAndOther();
    // It comes after the one that wants nothing.
    const b = await started("c");
    a.need = "yield";
    c.need = "yield";
    b.need = "lead";
    await timeline.pass(LEASE_MS);
    expect([a.isLeading, b.isLeading, c.changes]).toEqual([false, true, []]);
  });

  test("leads again when the other one is gone before it could take the Lease", async () => {
    const [a, b] = await leaderAndOther();
    a.need = "yield";
    b.need = "lead";
    await eventuallyAnnotated("isoline/wanted-by");
    b.crash();
    await timeline.pass(SOON_MS);
    expect(a.isLeading).toBe(false);
    await timeline.pass(LEASE_MS + SOON_MS);
    expect(a.isLeading).toBe(true);
  });
});

async function eventuallyAnnotated(name: string): Promise<void> {
  const annotated = () => Object.keys(Object(leases.lease?.metadata.annotations)).includes(name);
  for (let i = 0; i < 1000 && !annotated(); i++) await timeline.pass(10);
  expect(annotated()).toBe(true);
}

describe("taking the Lease", () => {
  test("one that nobody holds is taken at once", async () => {
    const a = await started("a");
    expect(a.isLeading).toBe(true);
    expect(a.changes).toEqual([true]);
    expect(spec()).toEqual({
      holderIdentity: "a",
      leaseDurationSeconds: 15,
      acquireTime: "2026-01-02T03:04:05.010000Z",
      renewTime: "2026-01-02T03:04:05.010000Z",
      leaseTransitions: 1,
    });
  });

  test("where there is none, one is made, and taken when it has stood still as long as one that somebody holds", async () => {
    leases.remove();
    const a = await started("a");
    expect(leases.lease?.spec).toMatchObject({ holderIdentity: "a", leaseTransitions: 0 });
    expect(a.reports).toEqual([{ kind: "created", waitMs: LEASE_MS }]);
    await timeline.pass(LEASE_MS - 200);
    expect(a.isLeading).toBe(false);
    await timeline.pass(SOON_MS);
    expect(a.isLeading).toBe(true);
    expect(writes()).toEqual(["POST", "PUT"]);
    expect(leases.lease?.spec).toMatchObject({ holderIdentity: "a", leaseTransitions: 0 });
  });

  test("a renewal changes its time alone, and keeps what others have written", async () => {
    await started("a");
    const before = leases.lease;
    leases.put({
      ...before,
      metadata: { ...before?.metadata, labels: { team: "web" } },
      spec: { ...before?.spec, strategy: "x" },
    });
    await timeline.pass(SOON_MS);
    expect(leases.lease?.metadata.labels).toEqual({ team: "web" });
    const { acquireTime, renewTime, ...others } = leases.lease?.spec ?? {};
    expect(others).toEqual({ holderIdentity: "a", leaseDurationSeconds: 15, leaseTransitions: 1, strategy: "x" });
    expect(acquireTime).toBe(before?.spec?.acquireTime);
    expect(String(renewTime) > String(acquireTime)).toBe(true);
    // Neither is what the API server writes.
    expect(JSON.stringify(leases.requests)).not.toContain("managedFields");
  });

  test("a leader asks nothing, and writes once in each period", async () => {
    await started("a");
    leases.requests.length = 0;
    await timeline.pass(22_000);
    expect(leases.requests.map(({ method }) => method)).toEqual(Array.from({ length: 10 }, () => "PUT"));
  });

  test("when a leader is gone, another follows", async () => {
    const [a, b] = await leaderAndOther();
    a.crash();
    await timeline.pass(LEASE_MS - 200);
    expect(b.isLeading).toBe(false);
    await timeline.pass(SOON_MS);
    expect(b.isLeading).toBe(true);
    expect(b.reports).toEqual([{ kind: "other", holder: "a" }]);
    expect(spec()).toMatchObject({ holderIdentity: "b", leaseTransitions: 2 });
  });

  test.each([
    ["late", -3_600_000],
    ["early", 3_600_000],
  ])("clocks that are an hour %s make no difference", async (_, skewMs) => {
    const a = await started("a", { skewMs });
    const b = await started("b");
    await timeline.pass(3 * LEASE_MS);
    expect([a.isLeading, b.isLeading]).toEqual([true, false]);
    expect(a.changes).toEqual([true]);
  });

  test("a holder that wants to be waited for longer is", async () => {
    leases.put({ metadata: {}, spec: { holderIdentity: "another program", leaseDurationSeconds: 60 } });
    const a = await started("a");
    await timeline.pass(59_000);
    expect(a.isLeading).toBe(false);
    await timeline.pass(2 * SOON_MS);
    expect(a.isLeading).toBe(true);
  });

  test("its own name in it is not enough", async () => {
    leases.put({ metadata: {}, spec: { holderIdentity: "a", leaseDurationSeconds: 15 } });
    const a = await started("a");
    await timeline.pass(LEASE_MS - 200);
    expect(a.isLeading).toBe(false);
    await timeline.pass(SOON_MS);
    expect(a.isLeading).toBe(true);
  });
});

describe("losing the Lease", () => {
  test("a leader that reaches nobody stops before another can follow", async () => {
    const [a, b] = await leaderAndOther();
    expect(await leadsFor(a)).toBeLessThanOrEqual(RENEW_MS);
    await timeline.pass(10);
    expect(a.changes).toEqual([true, false]);
    expect(b.isLeading).toBe(false);
    await timeline.pass(LEASE_MS - RENEW_MS + SOON_MS);
    expect(b.isLeading).toBe(true);
    a.partition(false, false);
    await timeline.pass(SOON_MS);
    expect(a.isLeading).toBe(false);
    expect(new Set(a.reports.map(({ kind }) => kind))).toEqual(new Set(["trouble", "other", "recovered"]));
  });

  test("what comes after the lead is over brings it back, but not for longer than it is good", async () => {
    const a = await started("a");
    await timeline.pass(RENEW_MS);
    const lead = async () => {
      const { length } = leases.requests;
      a.partition(false, true);
      while (leases.requests.length === length) await timeline.pass(10);
      const startMs = timeline.nowMs;
      await timeline.pass(4_500);
      a.partition(false, false);
      await timeline.pass(100);
      return startMs;
    };
    const startMs = await lead();
    expect(a.isLeading).toBe(true);
    const restMs = await leadsFor(a);
    expect(timeline.nowMs - startMs).toBeLessThanOrEqual(RENEW_MS + 100);
    expect(restMs).toBeGreaterThan(3_000);
  });

  test("when the API server refuses, it says so, goes on for a while, and recovers", async () => {
    const a = await started("a");
    leases.refusal = { status: 403 };
    await timeline.pass(RENEW_MS - 200);
    expect(a.isLeading).toBe(true);
    await timeline.pass(2_200);
    expect(a.isLeading).toBe(false);
    expect(a.reports[0]).toMatchObject({ kind: "trouble", error: { status: 403 } });
    leases.refusal = undefined;
    await timeline.pass(SOON_MS);
    expect(a.isLeading).toBe(true);
    expect(a.reports.at(-1)).toEqual({ kind: "recovered" });
    expect(a.changes).toEqual([true, false, true]);
  });

  test("it leaves the API server alone for as long as that asks for", async () => {
    const a = await started("a");
    leases.refusal = { status: 429, retryAfterMs: 8_000 };
    await timeline.pass(SOON_MS);
    leases.requests.length = 0;
    leases.refusal = undefined;
    await timeline.pass(7_000);
    expect(leases.requests).toEqual([]);
    await timeline.pass(SOON_MS);
    expect(a.isLeading).toBe(true);
  });

  test("somebody who writes another name into it is believed", async () => {
    const [a, b] = await leaderAndOther();
    leases.put({ ...leases.lease, spec: { holderIdentity: "somebody" } });
    await timeline.pass(SOON_MS);
    expect([a.isLeading, b.isLeading]).toEqual([false, false]);
    expect(a.reports).toEqual([{ kind: "other", holder: "somebody" }]);
  });

  test.each<[string, (a: Replica) => void]>([
    ["process", (a) => a.sleep("process")],
    ["machine", (a) => a.sleep("machine")],
  ])("a %s that was suspended knows before anything happens in it", async (_, sleep) => {
    const [a, b] = await leaderAndOther();
    sleep(a);
    await timeline.pass(LEASE_MS + SOON_MS);
    expect([a.isLeading, b.isLeading]).toEqual([false, true]);
    a.wake();
    expect(a.isLeading).toBe(false);
    await timeline.pass(SOON_MS);
    expect([a.isLeading, b.isLeading]).toEqual([false, true]);
    expect(a.changes).toEqual([true, false]);
  });

  test("a time of day that is set ahead interrupts the lead until the next renewal, one that is set back does not", async () => {
    const [a] = await leaderAndOther();
    a.setClock(-3_600_000);
    expect(a.isLeading).toBe(true);
    expect(await leadsFor(a)).toBeLessThanOrEqual(RENEW_MS);
    a.partition(false, false);
    await timeline.pass(SOON_MS);
    a.setClock(3_600_000);
    expect(a.isLeading).toBe(false);
    await timeline.pass(SOON_MS);
    expect(a.isLeading).toBe(true);
  });
});

describe("a Lease that is deleted", () => {
  test("is put back by its leader, who goes on", async () => {
    const [a, b] = await leaderAndOther();
    leases.remove();
    await timeline.pass(SOON_MS);
    expect(spec()).toMatchObject({ holderIdentity: "a" });
    await timeline.pass(3 * LEASE_MS);
    expect([a.changes, b.changes]).toEqual([[true], []]);
  });

  test("is put back by its leader, and that counts from when it was asked for", async () => {
    const delays = { requests: 5, answers: 5 };
    const a = await started("a", { delayMs: (to) => delays[to] });
    leases.remove();
    delays.answers = 2_000;
    while (writes().at(-1) !== "POST") await timeline.pass(10);
    const startMs = timeline.nowMs;
    await timeline.pass(2_100);
    expect(a.isLeading).toBe(true);
    await leadsFor(a);
    expect(timeline.nowMs - startMs).toBeLessThanOrEqual(RENEW_MS);
  });

  test("is replaced by another if the leader does not, and then nobody leads before the leader has stopped", async () => {
    const [a, b] = await leaderAndOther();
    a.partition(true, true);
    leases.remove();
    await timeline.pass(3 * SOON_MS);
    expect(spec()).toMatchObject({ holderIdentity: "b" });
    expect([a.isLeading, b.isLeading]).toEqual([true, false]);
    await timeline.pass(LEASE_MS - SOON_MS);
    expect([a.isLeading, b.isLeading]).toEqual([false, false]);
    await timeline.pass(2 * SOON_MS);
    expect(b.isLeading).toBe(true);
  });

  test("and replaced by one who stops does not become free by that", async () => {
    const [a, b] = await leaderAndOther();
    a.partition(true, true);
    leases.remove();
    await timeline.pass(3 * SOON_MS);
    await Promise.all([b.elector.stop(), timeline.pass(100)]);
    const c = await started("c");
    expect([a.isLeading, c.isLeading]).toEqual([true, false]);
    expect(spec()).toMatchObject({ holderIdentity: "b" });
  });

  test("is put back in vain by a leader that hears of it after it has stopped", async () => {
    const a = await started("a");
    leases.refusal = { status: 500 };
    await timeline.pass(7_000);
    leases.refusal = undefined;
    leases.remove();
    while (writes().at(-1) !== "POST") await timeline.pass(1);
    a.partition(false, true);
    expect(a.isLeading).toBe(true);
    await timeline.pass(3_000);
    expect(a.isLeading).toBe(false);
    a.partition(false, false);
    await timeline.pass(100);
    expect(a.reports.at(-2)).toEqual({ kind: "created", waitMs: LEASE_MS });
    expect(a.isLeading).toBe(false);
    await timeline.pass(LEASE_MS + SOON_MS);
    expect(a.isLeading).toBe(true);
  });

  test("and whose namespace is gone is told of", async () => {
    const a = await started("a");
    leases.remove();
    leases.refusal = { status: 404 };
    leases.requests.length = 0;
    await timeline.pass(SOON_MS);
    expect(leases.requests.map(({ method }) => method)).toEqual(["PUT", "GET", "POST"]);
    expect(a.reports).toMatchObject([{ kind: "trouble", error: { status: 404 } }]);
  });
});

describe("answers that no API server gives", () => {
  test.each([
    ["nothing", undefined],
    ["a list", { kind: "LeaseList", metadata: { resourceVersion: "7" }, items: [] }],
    ["a Lease without a version", { metadata: { uid: "u" }, spec: { holderIdentity: "a" } }],
    ["a holder that is no name", { metadata: { uid: "u", resourceVersion: "7" }, spec: { holderIdentity: 7 } }],
  ])("%s: nobody leads by it", async (_, answer) => {
    leases.handle = () => answer;
    const a = await started("a");
    expect(a.isLeading).toBe(false);
    expect(a.reports).toMatchObject([{ kind: "trouble", error: { fault: "garbled" } }]);
  });

  test.each([
    ["somebody else's Lease", { metadata: { uid: "uid-101", resourceVersion: "7" }, spec: { holderIdentity: "b" } }],
    ["another Lease", { metadata: { uid: "u", resourceVersion: "7" }, spec: { holderIdentity: "a" } }],
  ])("%s for what was written: nobody leads by it", async (_, answer) => {
    const handle = leases.handle.bind(leases);
    leases.handle = (request) => (request.method === "PUT" ? answer : handle(request));
    const a = await started("a");
    expect(a.isLeading).toBe(false);
    expect(a.reports).toMatchObject([{ kind: "trouble", error: { fault: "garbled" } }]);
  });

  test("a spec without anything in it is a Lease that nobody holds", async () => {
    leases.put({ metadata: {}, spec: { leaseDurationSeconds: "x", leaseTransitions: -1 } });
    expect((await started("a")).isLeading).toBe(true);
    expect(spec()).toMatchObject({ leaseDurationSeconds: 15, leaseTransitions: 1 });
  });
});

describe("stop", () => {
  test("hands over: the next one leads with its next attempt", async () => {
    const [a, b] = await leaderAndOther();
    const stopping = a.elector.stop();
    expect(a.isLeading).toBe(false);
    expect(a.changes).toEqual([true, false]);
    await timeline.pass(100);
    await stopping;
    expect(spec()).toMatchObject({ holderIdentity: "", leaseTransitions: 1 });
    await timeline.pass(SOON_MS);
    expect(b.isLeading).toBe(true);
    expect(spec()).toMatchObject({ holderIdentity: "b", leaseTransitions: 2 });
  });

  test("in the middle of a renewal releases what was written meanwhile", async () => {
    const [a] = await leaderAndOther();
    a.partition(false, true);
    const { length } = writes();
    while (writes().length === length) await timeline.pass(10);
    const stopping = a.elector.stop();
    a.partition(false, false);
    await timeline.pass(100);
    await stopping;
    expect(spec()).toMatchObject({ holderIdentity: "" });
  });

  test("waits for no API server for long", async () => {
    const [a] = await leaderAndOther();
    a.partition(true, true);
    let isStopped = false;
    const stopping = a.elector.stop().then(() => {
      isStopped = true;
    });
    await timeline.pass(2_900);
    expect(isStopped).toBe(false);
    await timeline.pass(200);
    await stopping;
    expect(a.reports).toMatchObject([{ kind: "trouble", error: { fault: "timeout" } }]);
  });

  test("of one that does not lead, or was never started, asks for nothing", async () => {
    const [a, b] = await leaderAndOther();
    a.crash();
    leases.requests.length = 0;
    await b.elector.stop();
    const c = replica("c");
    await c.elector.stop();
    c.elector.start();
    await timeline.pass(SOON_MS);
    expect(leases.requests).toEqual([]);
  });

  test("leaves a Lease alone that somebody else has taken", async () => {
    const [a, b] = await leaderAndOther();
    a.partition(true, true);
    await timeline.pass(LEASE_MS + SOON_MS);
    expect(b.isLeading).toBe(true);
    a.partition(false, false);
    await Promise.all([a.elector.stop(), timeline.pass(1_000)]);
    expect(spec()).toMatchObject({ holderIdentity: "b" });
  });
});
