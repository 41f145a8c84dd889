import { setImmediate } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Controller } from "../../src/controller/controller.ts";
import { createLog } from "../../src/controller/log.ts";
import { Cache } from "../../src/xds/cache.ts";
import { applied, OPTIONS, type RawObject } from "../laws/worlds.ts";

const HOSTS = 5000;

let controller: Controller;
/** How many hosts each delta was about. */
let deltas: number[];

beforeEach(() => {
  deltas = [];
  controller = new Controller({
    ...{ translate: OPTIONS, cache: new Cache(), log: createLog({ level: "error", format: "json" }, () => {}) },
    now: () => 0,
    onDelta: ({ hosts }) => deltas.push(hosts.size),
  });
  const roots = Array.from({ length: HOSTS }, (_, i) => applied(root("many", `host-${i}`)));
  controller.listener.changed([...roots, applied(root("few", "other")), applied(service("many", 80))]);
  controller.listener.synced();
  deltas = [];
});

/** Lets the event loop turn until something is so; returns how often. */
async function turnsUntil(is: () => boolean): Promise<number> {
  let turns = 0;
  for (; !is(); turns++) await setImmediate();
  return turns;
}

test("the event loop goes on while thousands of hosts are compiled, and what they become is told at once", async () => {
  controller.listener.changed([applied(service("many", 81))]);
  expect(deltas).toEqual([]);
  expect(await turnsUntil(() => deltas.length > 0)).toBeGreaterThan(1);
  expect(deltas).toEqual([HOSTS]);
});

test("who keeps all hosts of a namespace busy holds up nobody else's", async () => {
  controller.listener.changed([applied(service("many", 81))]);
  await turnsUntil(() => deltas.length > 0);
  controller.listener.changed([applied(service("many", 80))]);
  controller.listener.changed([applied(service("few", 80))]);
  controller.listener.changed([applied(service("few", 81))]);
  await turnsUntil(() => deltas.length > 3);
  expect(deltas).toEqual([HOSTS, 1, 1, HOSTS]);
});

test("a change that comes while all hosts of another namespace are compiled does not wait for them", async () => {
  controller.listener.changed([applied(service("many", 81))]);
  expect(deltas).toEqual([]);
  controller.listener.changed([applied(service("few", 80))]);
  // The same turn: what is done by then of the many is told as well.
  expect(deltas).toHaveLength(1);
  expect(deltas[0]).toBeLessThan(HOSTS / 2);
  expect(controller.translator.host("other.example.com")?.routes[0]?.action.kind).toBe("forward");
  expect(controller.isIdle).toBe(false);
  controller.listener.changed([applied(service("many", 80))]);
  expect(deltas).toHaveLength(1);
  await turnsUntil(() => controller.isIdle);
  expect(deltas.reduce((sum, hosts) => sum + hosts, 0)).toBe(HOSTS * 2 + 1);
});

describe("with hosts that take a second each", () => {
  let slow: Controller;
  let nowMs: number;
  let stepMs: number;

  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setImmediate", "clearImmediate"] });
    nowMs = 0;
    vi.spyOn(performance, "now").mockImplementation(() => nowMs);
    stepMs = 0;
    const digest: typeof OPTIONS.digest = (content) => {
      nowMs += stepMs;
      return OPTIONS.digest(content);
    };
    slow = new Controller({
      ...{ translate: { ...OPTIONS, digest }, cache: new Cache() },
      ...{ log: createLog({ level: "error", format: "json" }, () => {}), now: () => 0 },
    });
  });

  function sync(): void {
    const roots = [root("many", "a"), root("many", "b"), root("few", "other")];
    slow.listener.changed([...roots, service("many", 80)].map(applied));
    slow.listener.synced();
    stepMs = 1000;
  }

  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  function pass(ms: number): void {
    nowMs += ms;
    vi.advanceTimersByTime(ms);
  }

  const isForwarded = (...names: readonly string[]) =>
    names.map((name) => slow.translator.host(`${name}.example.com`)?.routes[0]?.action.kind === "forward");

  test("there is no pause before everything has been read: what waits in it would be missing from what is served", () => {
    stepMs = 1000;
    slow.listener.changed([service("many", 80), service("few", 80), root("few", "other")].map(applied));
    stepMs = 10;
    slow.listener.changed([root("many", "a"), root("many", "b")].map(applied));
    slow.listener.synced();
    expect(isForwarded("a", "b", "other")).toEqual([true, true, true]);
  });

  test("there is a pause between two of them, in which others do not wait", () => {
    sync();
    slow.listener.changed([applied(service("many", 81))]);
    expect(isForwarded("a", "b", "other")).toEqual([false, true, false]);
    const tookMs = nowMs;
    expect(tookMs).toBeGreaterThan(999);
    pass(tookMs / 2 - 1);
    expect(isForwarded("a", "b", "other")).toEqual([false, true, false]);
    pass(1);
    expect(isForwarded("a", "b", "other")).toEqual([false, false, false]);
  });

  test("who comes in the pause does not wait for its end, and those that have begun do not go on with it", () => {
    sync();
    slow.listener.changed([applied(service("many", 81))]);
    pass(1);
    stepMs = 0;
    slow.listener.changed([applied(service("few", 80))]);
    expect(isForwarded("a", "b", "other")).toEqual([false, true, true]);
    pass(1);
    expect(isForwarded("a", "b", "other")).toEqual([false, true, true]);
    expect(slow.isIdle).toBe(false);
    pass(10_000);
    expect(isForwarded("a", "b", "other")).toEqual([false, false, true]);
  });
});

function root(namespace: string, name: string): RawObject {
  return {
    kind: "IngressRoute",
    apiVersion: "contour.heptio.com/v1beta1",
    metadata: { namespace, name },
    spec: {
      virtualhost: { fqdn: `${name}.example.com` },
      routes: [{ match: "/", services: [{ name: "shared", port: 80 }] }],
    },
  };
}

function service(namespace: string, port: number): RawObject {
  return { kind: "Service", apiVersion: "v1", metadata: { namespace, name: "shared" }, spec: { ports: [{ port }] } };
}
