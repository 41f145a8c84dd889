import { setImmediate } from "node:timers/promises";
import { beforeEach, expect, test } from "vitest";
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
