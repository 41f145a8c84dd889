import { expect, test } from "vitest";
import { objectKey } from "../../src/api/object-key.ts";
import type { Problem } from "../../src/compile/problems.ts";
import { EVENT_DEFAULTS, EventWriter, type ObjectEvent } from "../../src/status/events.ts";
import { type LoadBalancer, StatusReporter } from "../../src/status/reporter.ts";
import type { IngressRouteWish } from "../../src/status/wish.ts";
import { FakeApi, FakeClock, record, turns } from "./fakes.ts";

const WEB = objectKey("IngressRoute", "default", "web");
const SHOP = objectKey("Ingress", "team", "shop");

/** Several replicas may share an API server. */
class Replica {
  readonly clock = new FakeClock();
  readonly api: FakeApi;
  readonly reporter: StatusReporter;
  dropped = 0;
  leads = false;

  constructor(api: FakeApi, loadBalancer: LoadBalancer = { kind: "none" }) {
    this.api = api;
    api.fate ??= () => "done";
    this.reporter = new StatusReporter({
      client: api.client,
      isLeading: () => this.leads,
      clock: this.clock,
      random: () => 0.5,
      loadBalancer,
      instance: "isoline-0",
      onWrite: () => {},
      onEvent: ({ kind }) => {
        if (kind === "dropped") this.dropped++;
      },
    });
  }

  async leading(leads: boolean): Promise<void> {
    this.leads = leads;
    this.reporter.leading(leads);
    await turns();
  }

  async watch(): Promise<void> {
    for (const { key, seen } of this.api.events()) this.reporter.observe(key, seen);
    await turns();
  }

  async say(currentStatus: IngressRouteWish["currentStatus"], description: string = currentStatus): Promise<void> {
    this.reporter.ingressRoute(WEB, {
      kind: "IngressRoute",
      currentStatus,
      description,
      conditions: [{ type: "Valid", status: currentStatus === "valid" ? "True" : "False", reason: "X", message: "x" }],
      programmed: { type: "Programmed", status: "True", reason: "Accepted", message: "x" },
      standing: "settled",
    });
    await turns();
    await this.watch();
  }
}

const told = (api: FakeApi) => [...api.eventsMade.values()].map(({ type, reason, note }) => [type, reason, note]);

const unusable: Problem = {
  object: SHOP,
  at: "spec.rules[0].host",
  subject: { kind: "object" },
  code: "IngressTlsHostUnused",
  host: "shop.example.com",
};
const noService: Problem = {
  object: SHOP,
  at: "spec.rules[0]",
  subject: { kind: "route", match: "/", service: "web" },
  code: "ServiceNotFound",
  namespace: "team",
};
const UNUSABLE = 'tls names the host "shop.example.com", for which this object has no rule';

test("an IngressRoute is told by an Event when it turns invalid, and when it is valid again, once each", async () => {
  const api = new FakeApi();
  const uid = api.create(WEB);
  const replica = new Replica(api);
  await replica.leading(true);
  await replica.watch();
  await replica.say("valid");
  expect(told(api)).toEqual([]);
  await replica.say("invalid", "no fqdn");
  await replica.say("invalid", "no routes");
  await replica.say("orphaned");
  await replica.say("valid");
  expect(told(api)).toEqual([
    ["Warning", "Invalid", "no fqdn"],
    ["Warning", "Orphaned", "orphaned"],
    ["Normal", "Valid", "valid"],
  ]);
  const [[name, event] = ["", {}]] = api.eventsMade;
  expect(name).toMatch(/^web\.[0-9a-f]{24}$/);
  expect(event).toMatchObject({
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    metadata: { namespace: "default" },
    eventTime: "2026-01-01T00:00:00.000000Z",
    reportingController: "isoline",
    reportingInstance: "isoline-0",
    action: "Translate",
    regarding: {
      apiVersion: "contour.heptio.com/v1beta1",
      kind: "IngressRoute",
      namespace: "default",
      name: "web",
      uid,
    },
  });
});

test("a new leader repeats nothing", async () => {
  const api = new FakeApi();
  api.create(WEB, { currentStatus: "invalid" });
  const [first, second] = [new Replica(api), new Replica(api)];
  await first.leading(true);
  for (const { key, seen } of api.events()) for (const { reporter } of [first, second]) reporter.observe(key, seen);
  await first.say("invalid");
  expect(told(api)).toEqual([]);
  const uid = api.create(SHOP);
  for (const { reporter } of [first, second]) {
    reporter.observe(SHOP, { uid, resourceVersion: "1", status: {} });
    reporter.ingress(SHOP, [unusable]);
  }
  await turns();
  await first.leading(false);
  await second.leading(true);
  expect(api.requests.filter(({ method }) => method === "POST").length).toBe(2);
  expect(told(api)).toEqual([["Warning", "IngressTlsHostUnused", UNUSABLE]]);
  expect(second.dropped).toBe(0);
});

test("an Ingress is told its problems once for each that they are, and each object of its own", async () => {
  const api = new FakeApi();
  const replica = new Replica(api);
  await replica.leading(true);
  replica.reporter.ingress(SHOP, [unusable]);
  api.create(SHOP);
  await replica.watch();
  api.edit(SHOP);
  await replica.watch();
  expect(told(api)).toEqual([["Warning", "IngressTlsHostUnused", UNUSABLE]]);
  replica.reporter.ingress(SHOP, [unusable, noService]);
  await turns();
  expect(told(api).length).toBe(2);
  replica.reporter.ingress(SHOP, []);
  replica.reporter.ingress(SHOP, [unusable]);
  await turns();
  expect(told(api).length).toBe(2);
  api.remove(SHOP);
  api.create(SHOP);
  await replica.watch();
  expect(told(api).length).toBe(3);
});

test("an Ingress with thousands of problems is told in an Event of the size that is allowed", async () => {
  const api = new FakeApi();
  const replica = new Replica(api);
  const long = objectKey("Ingress", "team", `a.${"b-".repeat(125)}x`);
  api.create(long);
  await replica.leading(true);
  await replica.watch();
  const problems = Array.from(
    { length: 3000 },
    (_, i): Problem => ({ ...unusable, object: long, host: `é${i}`.repeat(30) }),
  );
  replica.reporter.ingress(long, problems);
  await turns();
  const [[name, event] = ["", {}]] = api.eventsMade;
  expect(name.length).toBeLessThanOrEqual(253);
  expect(name).toMatch(/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/);
  expect(name).not.toMatch(/[-.]\./);
  expect(Buffer.byteLength(String(event.note))).toBeLessThanOrEqual(1024);
  expect(event.note).toMatch(/…$/);
});

test("what others write into a status is no turn, and what could not be stored is told once", async () => {
  const api = new FakeApi();
  api.create(WEB);
  const replica = new Replica(api);
  await replica.leading(true);
  await replica.watch();
  await replica.say("valid");
  for (const currentStatus of ["invalid", "orphaned", "invalid"]) {
    api.edit(WEB, () => ({ currentStatus }));
    await replica.watch();
    await replica.clock.advance(2000);
    expect(record(api.get(WEB)?.status).currentStatus).toBe("valid");
  }
  expect(told(api)).toEqual([]);
  api.fate = ({ method }) => (method === "PATCH" ? "too large" : "done");
  for (let i = 0; i < 3; i++) {
    api.edit(WEB);
    await replica.say("invalid", "no fqdn");
    await replica.clock.advance(2000);
  }
  const note =
    "the API server does not store the status of this object (500 etcdserver: request is too large), which is: invalid: no fqdn";
  expect(told(api)).toEqual([["Warning", "StatusRefused", note]]);
  // Another object of the same name is told anew.
  api.fate = () => "done";
  api.remove(WEB);
  api.create(WEB);
  await replica.say("invalid", "no fqdn");
  expect(told(api).at(-1)).toEqual(["Warning", "Invalid", "no fqdn"]);
});

/** One of its own for each, as only the newest of an object waits. */
const event = (i: number, namespace = "default"): ObjectEvent => ({
  ...{
    object: objectKey("IngressRoute", namespace, `web-${i}`),
    uid: "uid-1",
    type: "Warning",
    reason: "Invalid",
    note: "x",
  },
  occasion: String(i),
});

function eventWriter(options: Partial<typeof EVENT_DEFAULTS>) {
  const [api, clock] = [new FakeApi(), new FakeClock()];
  api.fate = () => "done";
  const counts = { made: 0, dropped: 0 };
  const state = { leads: true };
  const writer = new EventWriter({
    ...EVENT_DEFAULTS,
    ...options,
    client: api.client,
    isLeading: () => state.leads,
    clock,
    random: () => 0.5,
    instance: "isoline-0",
    onMade: () => counts.made++,
    onDropped: () => counts.dropped++,
  });
  return { api, clock, counts, state, writer };
}

test("of the Events of an object the newest waits, and it has no more of them than its rate", async () => {
  const { api, clock, counts, writer } = eventWriter({ objectBurst: 2, objectPerSecond: 0.1 });
  writer.leading(true);
  const about = (note: string): ObjectEvent => ({ ...event(1), note, occasion: note });
  for (const note of ["a", "b", "c"]) writer.post(about(note));
  await turns();
  expect(told(api).map(([, , note]) => note)).toEqual(["a", "c"]);
  for (const note of ["d", "e"]) writer.post(about(note));
  await turns();
  expect([api.eventsMade.size, writer.waiting]).toEqual([2, 1]);
  // Another one does not wait with it.
  writer.post({ ...event(2), note: "other" });
  await turns();
  await clock.advance(9000);
  expect(told(api).map(([, , note]) => note)).toEqual(["a", "c", "other"]);
  await clock.advance(2000);
  expect(told(api).map(([, , note]) => note)).toEqual(["a", "c", "other", "e"]);
  // It tells when it happened, not when it was its turn.
  expect([...api.eventsMade.values()].at(-1)?.eventTime).toBe("2026-01-01T00:00:00.000000Z");
  expect([counts, writer.waiting, clock.running]).toEqual([{ made: 4, dropped: 0 }, 0, 0]);
});

test("Events of one namespace neither crowd out nor hold up those of another", async () => {
  const { api, clock, counts, writer } = eventWriter({ burst: 1, perSecond: 1, capacity: 20 });
  writer.leading(true);
  for (let i = 0; i < 1000; i++) writer.post(event(i, "crowd"));
  expect(writer.post(event(2000, "alone"))).toBe(true);
  await clock.advance(2000);
  const namespaces = [...api.eventsMade.values()].map(({ metadata }) => record(metadata).namespace);
  expect(namespaces).toEqual(["crowd", "crowd", "alone"]);
  expect(counts.dropped).toBe(979);
  // Whoever leads again begins anew, and what still runs of before does not stand in its way.
  writer.leading(false);
  writer.leading(true);
  writer.post(event(2001, "alone"));
  await clock.advance(1000);
  expect([api.eventsMade.size, writer.waiting, clock.running]).toEqual([4, 0, 0]);
});

test("Events are few at a time, dropped when too many wait, and given up after some attempts", async () => {
  const { api, clock, counts, state, writer } = eventWriter({ burst: 10, perSecond: 1, capacity: 20 });
  expect(writer.post(event(0))).toBe(false);
  writer.leading(true);
  for (let i = 0; i < 100; i++) writer.post(event(i));
  await turns();
  expect(counts).toEqual({ made: 10, dropped: 79 });
  await clock.advance(20_000);
  expect(counts).toEqual({ made: 21, dropped: 79 });
  expect(api.mostPending).toBe(1);

  api.fate = () => "broken";
  writer.post(event(200));
  await clock.advance(60_000);
  expect(counts).toEqual({ made: 21, dropped: 80 });
  expect(api.requests.length).toBe(24);

  // An answer that was lost: the second attempt finds the Event made.
  api.fate = () => "done, answer lost";
  writer.post(event(201));
  await turns();
  api.fate = () => "done";
  await clock.advance(60_000);
  expect(counts.dropped).toBe(80);
  expect(api.eventsMade.size).toBe(22);

  state.leads = false;
  writer.post(event(299));
  await clock.advance(1000);
  expect(api.eventsMade.size).toBe(22);
  state.leads = true;

  api.fate = undefined;
  writer.post(event(300));
  writer.post(event(301));
  await turns();
  await writer.stop();
  expect(api.requests.at(-1)?.signal?.aborted).toBe(true);
  expect([api.pending.length, clock.running]).toEqual([0, 0]);
  const sent = api.requests.length;
  await clock.advance(60_000);
  expect(api.requests.length).toBe(sent);
});

test("Ingresses get the addresses of the flag, ours alone, and keep them when they are ours no more", async () => {
  const api = new FakeApi();
  const replica = new Replica(api, { kind: "addresses", addresses: [{ ip: "192.0.2.1" }] });
  const theirs = objectKey("Ingress", "team", "theirs");
  for (const key of [SHOP, theirs]) api.create(key, { loadBalancer: {} });
  await replica.leading(true);
  await replica.watch();
  replica.reporter.ingress(SHOP, []);
  await turns();
  const served = { loadBalancer: { ingress: [{ ip: "192.0.2.1" }] } };
  expect(api.get(SHOP)?.status).toEqual(served);
  expect(api.get(theirs)?.status).toEqual({ loadBalancer: {} });
  replica.reporter.ingress(SHOP, undefined);
  await turns();
  await replica.watch();
  expect(api.get(SHOP)?.status).toEqual(served);
  api.edit(SHOP, () => ({ loadBalancer: { ingress: [{ ip: "198.51.100.1" }] } }));
  await replica.watch();
  expect(api.requests.length).toBe(1);
});

test("Ingresses follow the addresses of a Service, and keep them while it is not there", async () => {
  const api = new FakeApi();
  const replica = new Replica(api, { kind: "service", namespace: "edge", name: "envoy" });
  api.create(SHOP, {});
  await replica.leading(true);
  await replica.watch();
  replica.reporter.ingress(SHOP, []);
  await turns();
  expect(api.requests).toEqual([]);
  const at = async (ingress: readonly unknown[]) => {
    replica.reporter.observeLoadBalancer({ status: { loadBalancer: { ingress } } });
    await turns();
    await replica.watch();
    return record(record(api.get(SHOP)?.status).loadBalancer).ingress;
  };
  expect(await at([{ hostname: "lb.example.com", ports: [{ port: 80 }] }])).toEqual([{ hostname: "lb.example.com" }]);
  expect(await at([{ ip: "192.0.2.7", ipMode: "VIP" }])).toEqual([{ ip: "192.0.2.7" }]);
  replica.reporter.observeLoadBalancer(undefined);
  await turns();
  expect(api.requests.length).toBe(2);
  expect(await at([])).toEqual([]);
});
