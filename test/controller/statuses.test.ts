import { beforeEach, expect, test } from "vitest";
import { type ObjectKey, objectKey } from "../../src/api/object-key.ts";
import type { Problem } from "../../src/compile/problems.ts";
import { Statuses } from "../../src/controller/statuses.ts";
import type { IngressRouteWish } from "../../src/status/wish.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { createAuthority } from "../parts/authority.ts";
import { testOptions } from "../settings.ts";
import { FakeClock, turns } from "../status/fakes.ts";
import { Fleet } from "./fleet.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const WEB = objectKey("IngressRoute", "default", "web");

let fleet: Fleet;
let clock: FakeClock;
let statuses: Statuses;
let told: [ObjectKey, IngressRouteWish | undefined][];
let toldOfIngresses: [ObjectKey, readonly Problem[] | undefined][];

beforeEach(() => {
  fleet = new Fleet(testOptions({}));
  clock = new FakeClock();
  told = [];
  toldOfIngresses = [];
  statuses = new Statuses({
    translator: fleet.translator,
    watch: fleet.watch,
    clock,
    sink: {
      ingressRoute: (key, wish) => void told.push([key, wish]),
      ingress: (key, problems) => void toldOfIngresses.push([key, problems]),
    },
  });
});

const root = (service: string) =>
  rootYaml("web", "web.example.com", `[{ match: /, services: [{ name: ${service}, port: 80 }] }]`);

async function apply(yaml: string): Promise<void> {
  statuses.changed(fleet.apply(objects(yaml)));
  await turns();
}

const standings = () => told.map(([, wish]) => wish?.standing);
const warnings = () =>
  told
    .flatMap(([, wish]) => wish?.conditions.filter(({ type }) => type === "Warnings") ?? [])
    .map(({ message }) => message);

test("nothing is told before everything has been read, then everything once", async () => {
  await apply(root("web"));
  await apply(serviceYaml("web"));
  expect(told).toEqual([]);
  statuses.start();
  await turns();
  expect(told).toMatchObject([[WEB, { currentStatus: "valid", standing: "unheard" }]]);
  expect(toldOfIngresses).toEqual([]);
});

test("what happens in one turn is told once, and what an Envoy answers when it does", async () => {
  connectEarlier();
  statuses.start();
  await turns();
  fleet.apply([]);
  statuses.changed(fleet.apply(objects(serviceYaml("web"))));
  statuses.changed(fleet.apply(objects(root("gone"))));
  statuses.changed(fleet.apply(objects(root("web"))));
  await turns();
  expect(standings()).toEqual(["pending"]);
  fleet.onReport = (report) => statuses.report(report);
  fleet.settle(1);
  await turns();
  expect(standings()).toEqual(["pending", "settled"]);
  expect(clock.running).toBe(0);
});

test("an answer that was missed is found out before the status is written without it", async () => {
  connectEarlier();
  statuses.start();
  await apply(serviceYaml("web") + root("web"));
  expect(standings()).toEqual(["pending"]);
  // Nobody tells.
  fleet.onReport = () => {};
  fleet.settle(1);
  await clock.advance(900);
  expect(standings()).toEqual(["pending", "settled"]);
  expect(clock.running).toBe(0);
});

test("an object that goes, or is of another class from now on, is told as undefined", async () => {
  statuses.start();
  await apply(root("web"));
  statuses.changed(fleet.apply([{ kind: "deleted", key: WEB }]));
  await turns();
  expect(told.at(-1)).toEqual([WEB, undefined]);
});

test("a certificate that comes to its end is told of when somebody looks, and only then and once", async () => {
  const now = clock.now();
  const [notBefore, notAfter] = [new Date(now - DAY_MS), new Date(now + 15 * DAY_MS)];
  const { certPem, keyPem } = createAuthority("test").issue({ names: ["web.example.com"], notBefore, notAfter });
  statuses.start();
  await apply(`---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: web }
spec:
  virtualhost: { fqdn: web.example.com, tls: { secretName: cert } }
  routes: [{ match: /, services: [{ name: web, port: 80 }] }]
---
apiVersion: v1
kind: Secret
metadata: { name: cert }
type: kubernetes.io/tls
stringData: ${JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem })}
`);
  statuses.lookAtExpiries();
  await turns();
  expect(told.length).toBe(1);
  await clock.advance(2 * DAY_MS);
  expect(told.length).toBe(1);
  statuses.lookAtExpiries();
  await turns();
  statuses.lookAtExpiries();
  await turns();
  expect(told.length).toBe(2);
  expect(warnings()).toEqual(["the certificate expires soon, on 2026-01-16T00:00:00.000Z"]);
  await clock.advance(20 * DAY_MS);
  statuses.lookAtExpiries();
  await turns();
  expect(warnings().at(-1)).toContain("has expired");
});

test("after the end nothing is told, and no timer runs", async () => {
  fleet.connect(1);
  statuses.start();
  await apply(serviceYaml("web") + root("web"));
  told = [];
  statuses.stop();
  await apply(root("gone"));
  expect([told.length, clock.running]).toEqual([0, 0]);
});

/** One that has had everything for a while. */
function connectEarlier(): void {
  fleet.connect(1);
  fleet.settle(1);
  fleet.watch.hear();
}

/** As the server tells of it. */
function connectFirst(): void {
  fleet.connect(1);
  statuses.report({ envoy: { nodeId: "envoy-1", address: "127.0.0.1:1", connectedAt: 0 }, kind: "connected" });
}

test("the first Envoy is asked when it has the routes, and not as soon as it connects", async () => {
  statuses.start();
  await apply(serviceYaml("web") + root("web"));
  connectFirst();
  await turns();
  expect(standings()).toEqual(["unheard"]);
  fleet.onReport = (report) => statuses.report(report);
  fleet.settle(1);
  await turns();
  expect(standings()).toEqual(["unheard", "settled"]);
  expect(clock.running).toBe(0);
});

test("should the first Envoy say nothing, that is told after a while", async () => {
  statuses.start();
  await apply(serviceYaml("web") + root("web"));
  connectFirst();
  await clock.advance(9_000);
  expect(standings()).toEqual(["unheard"]);
  await clock.advance(1_500);
  expect(standings()).toEqual(["unheard", "pending"]);
});

test("an Envoy that was there before everything had been read is waited for from then on, and not after the end", async () => {
  connectFirst();
  expect(clock.running).toBe(0);
  statuses.start();
  await apply(serviceYaml("web") + root("web"));
  expect(clock.running).toBe(1);
  statuses.stop();
  connectFirst();
  expect(clock.running).toBe(0);
});

test("many are told in turns, and none before all of its hosts were looked at", async () => {
  connectEarlier();
  statuses.start();
  const numbers = Array.from({ length: 40 }, (_, i) => i);
  // A host takes a millisecond to look at, and an object to tell of.
  let now = 0;
  clock.monotonicMs = () => now++;
  statuses.changed(fleet.apply(objects(numbers.map((n) => rootOf(n, "first")).join(""))));
  await turns();
  const inFirstTurn = told.length;
  while (told.length < 40) await turns();
  expect(inFirstTurn).toBeLessThan(40);
  expect(new Set(standings())).toEqual(new Set(["pending"]));
  expect(new Set(told.map(([key]) => key)).size).toBe(40);
});

function rootOf(number: number, service: string): string {
  return rootYaml(
    `root-${number}`,
    `h${number}.example.com`,
    `[{ match: /, services: [{ name: ${service}, port: 80 }] }]`,
  );
}
