import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { objectKey } from "../../src/api/object-key.ts";
import type { Condition } from "../../src/compile/conditions.ts";
import { MAX_CONDITIONS } from "../../src/status/ingress-route-status.ts";
import { type IngressRouteWish, MAX_TEXT_LENGTH, type Standing } from "../../src/status/wish.ts";
import { StatusWriter, type StatusWriterOptions, WRITER_DEFAULTS, type WriteReport } from "../../src/status/writer.ts";
import { SEEDS } from "../laws/worlds.ts";
import { FakeApi, FakeClock, type Fate, record, refusal, turns } from "./fakes.ts";

const WEB = objectKey("IngressRoute", "default", "web");

type Said = {
  readonly description?: string;
  readonly generation?: number;
  readonly warning?: string;
  readonly standing?: Standing;
  readonly programmed?: Pick<Condition, "status" | "reason" | "message">;
};

const ACCEPTED = { status: "True", reason: "Accepted", message: "accepted by every connected Envoy" } as const;
const PENDING = { status: "False", reason: "Pending", message: "not yet accepted by a" } as const;
const REFUSED = { status: "False", reason: "Refused", message: "Envoy a refused it" } as const;
const NO_ENVOY = { status: "Unknown", reason: "NoEnvoy", message: "no Envoy is connected that has routes" } as const;

const BY_STANDING = { settled: ACCEPTED, pending: PENDING, refused: REFUSED, unheard: NO_ENVOY } as const;

function wish({ description, generation = 1, warning, standing = "settled", programmed }: Said = {}): IngressRouteWish {
  const observed = { observedGeneration: generation };
  const isValid = description === undefined;
  const text = description ?? "valid IngressRoute";
  const valid: Condition = {
    type: "Valid",
    status: isValid ? "True" : "False",
    reason: isValid ? "Valid" : "FqdnMissing",
    message: text,
    ...observed,
  };
  const warnings: readonly Condition[] =
    warning === undefined
      ? []
      : [{ type: "Warnings", status: "True", reason: "FieldIgnored", message: warning, ...observed }];
  return {
    kind: "IngressRoute",
    currentStatus: isValid ? "valid" : "invalid",
    description: text,
    conditions: [valid, ...warnings],
    programmed: { type: "Programmed", ...(programmed ?? BY_STANDING[standing]), ...observed },
    standing,
  };
}

class World {
  readonly clock = new FakeClock();
  readonly api = new FakeApi();
  readonly reports: WriteReport[] = [];
  leads = true;
  readonly writer: StatusWriter;

  constructor(options: Partial<StatusWriterOptions> = {}) {
    this.writer = new StatusWriter({
      ...WRITER_DEFAULTS,
      client: this.api.client,
      isLeading: () => this.leads,
      clock: this.clock,
      random: () => 0.5,
      onReport: (report) => this.reports.push(report),
      ...options,
    });
    this.api.fate = () => "done";
  }

  leading(leads: boolean): void {
    this.leads = leads;
    this.writer.leading(leads);
  }

  /** The watch tells what it has to tell. */
  async watch(count?: number): Promise<void> {
    for (const { key, seen } of this.api.events(count)) this.writer.observe(key, seen);
    await turns();
  }

  /** An object that the writer knows of, and is to lead for. */
  static async with(status?: unknown, options?: Partial<StatusWriterOptions>): Promise<World> {
    const world = new World(options);
    world.api.create(WEB, status);
    world.leading(true);
    await world.watch();
    return world;
  }

  async wish(said: Said): Promise<void> {
    this.writer.wish(WEB, wish(said));
    await turns();
  }

  get status(): Readonly<Record<string, unknown>> {
    return record(this.api.get(WEB)?.status);
  }

  get conditions(): readonly Readonly<Record<string, unknown>>[] {
    const { conditions } = this.status;
    return Array.isArray(conditions) ? conditions : [];
  }

  condition(type: string): Readonly<Record<string, unknown>> {
    return record(this.conditions.find((condition) => condition.type === type));
  }

  get writes(): number {
    return this.api.requests.length;
  }
}

const T0 = "2026-01-01T00:00:00Z";
const T1 = "2026-01-01T00:00:10Z";

describe("a status", () => {
  test("is written once, through the subresource, for this very object", async () => {
    const world = await World.with();
    await world.wish({ warning: "look here" });
    expect(world.api.requests).toMatchObject([
      {
        method: "PATCH",
        path: "/apis/contour.heptio.com/v1beta1/namespaces/default/ingressroutes/web/status",
        contentType: "application/merge-patch+json",
        body: { metadata: { uid: "uid-1" } },
      },
    ]);
    expect(world.status).toEqual({
      currentStatus: "valid",
      description: "valid IngressRoute",
      conditions: ["Valid", "Warnings", "Programmed"].map((type) =>
        expect.objectContaining({ type, lastTransitionTime: T0 }),
      ),
    });
    await world.watch();
    await world.wish({ warning: "look here" });
    expect(world.writes).toBe(1);
  });

  test("keeps the time of a condition while its status is the same, and loses the warnings that are over", async () => {
    const world = await World.with();
    await world.wish({ warning: "look here" });
    await world.clock.advance(10_000);
    await world.wish({ warning: "and here", programmed: REFUSED });
    expect(world.condition("Valid").lastTransitionTime).toBe(T0);
    expect(world.condition("Warnings")).toMatchObject({ lastTransitionTime: T0, message: "and here" });
    expect(world.condition("Programmed").lastTransitionTime).toBe(T1);
    await world.wish({ programmed: REFUSED });
    expect(world.conditions.map(({ type }) => type)).toEqual(["Valid", "Programmed"]);
  });

  test("tells a new generation though nothing else is new", async () => {
    const world = await World.with();
    await world.wish({});
    await world.wish({ generation: 2 });
    expect(world.condition("Valid").observedGeneration).toBe(2);
    expect(world.writes).toBe(2);
  });

  test("that is there already costs nothing, whatever its order and the keys that are not ours", async () => {
    const first = await World.with();
    await first.wish({ warning: "look here" });
    const found = { ...first.status, conditions: [...first.conditions].reverse(), loadBalancer: {} };
    const world = await World.with(found);
    await world.wish({ warning: "look here" });
    expect(world.writes).toBe(0);
  });

  test("leaves the conditions and the fields of others alone", async () => {
    const theirs = { type: "Audited", status: "True", by: { whom: "them" } };
    const world = await World.with({ conditions: [theirs], loadBalancer: { ingress: [{ ip: "192.0.2.1" }] } });
    await world.wish({});
    expect(world.conditions.map(({ type }) => type)).toEqual(["Valid", "Programmed", "Audited"]);
    expect(world.condition("Audited")).toEqual(theirs);
    expect(world.status.loadBalancer).toEqual({ ingress: [{ ip: "192.0.2.1" }] });
  });

  test.each<[string, unknown]>([
    ["a text", "valid"],
    ["a list", []],
    ["conditions that are none", { conditions: "none" }],
    ["conditions with a number", { conditions: [7, null, { status: "True" }] }],
    ["the same condition twice", { conditions: [{ type: "Valid" }, { type: "Valid", status: "False" }] }],
    [
      "fields of other types",
      { currentStatus: 7, description: {}, conditions: [{ type: "Programmed", status: true }] },
    ],
    ["a time that is none", { conditions: [{ type: "Valid", status: "True", lastTransitionTime: "yesterday" }] }],
  ])("that is %s is overwritten", async (_, status) => {
    const world = await World.with(status);
    await world.wish({});
    expect(world.status).toMatchObject({ currentStatus: "valid", description: "valid IngressRoute" });
    expect(world.conditions.map(({ type }) => type)).toEqual(["Valid", "Programmed"]);
    for (const { lastTransitionTime } of world.conditions) expect(lastTransitionTime).toBe(T0);
    await world.watch();
    expect(world.writes).toBe(1);
  });

  test("that somebody else changes is written again", async () => {
    const world = await World.with();
    await world.wish({});
    world.api.edit(WEB, () => ({ currentStatus: "stolen" }));
    await world.watch();
    expect(world.status.currentStatus).toBe("valid");
    expect(world.writes).toBe(2);
  });

  test("is not touched once the object is not ours any more", async () => {
    const world = await World.with();
    await world.wish({});
    world.writer.wish(WEB, undefined);
    world.api.edit(WEB, () => ({ currentStatus: "theirs" }));
    await world.watch();
    expect(world.status).toEqual({ currentStatus: "theirs" });
  });

  test("that the API server makes something else of is not written again and again", async () => {
    const world = await World.with();
    world.api.admit = (status) => ({ currentStatus: record(status).currentStatus });
    await world.wish({});
    await world.watch();
    await world.clock.advance(60_000);
    expect(world.writes).toBe(1);
    expect(world.reports.map(({ kind }) => kind)).toEqual(["written", "altered"]);
    await world.wish({ description: "broken" });
    expect(world.writes).toBe(2);
  });
});

describe("the watch", () => {
  test("may tell of a write before the answer to it comes", async () => {
    const world = await World.with();
    world.api.fate = undefined;
    await world.wish({});
    const [pending] = world.api.pending;
    pending?.finish("done");
    for (const { key, seen } of world.api.events()) world.writer.observe(key, seen);
    await turns();
    await world.clock.advance(5000);
    expect(world.writes).toBe(1);
  });

  test("may be late: what is written on top of a change that was not seen is refused, and written when it is", async () => {
    const world = await World.with();
    const theirs = { type: "Audited", status: "True" };
    world.api.edit(WEB, () => ({ conditions: [theirs] }));
    await world.wish({});
    expect(world.reports.map(({ kind }) => kind)).toEqual(["dropped"]);
    await world.clock.advance(60_000);
    expect(world.writes).toBe(1);
    await world.watch();
    expect(world.condition("Audited")).toEqual(theirs);
    expect(world.writes).toBe(2);
  });

  test("may tell of a write after the answer to the next one", async () => {
    const world = await World.with();
    await world.wish({});
    await world.wish({ description: "broken" });
    await world.watch();
    await world.clock.advance(5000);
    expect(world.writes).toBe(2);
  });

  test("tells of another object of the same name: what was on its way is for the first one", async () => {
    const world = await World.with();
    world.api.fate = undefined;
    await world.wish({});
    world.api.remove(WEB);
    world.api.create(WEB, { currentStatus: "new" });
    world.api.pending[0]?.finish("done");
    await turns();
    expect(world.status).toEqual({ currentStatus: "new" });
    expect(world.reports.map(({ kind }) => kind)).toEqual(["dropped"]);
    expect(world.writes).toBe(1);
    world.api.fate = () => "done";
    await world.watch();
    expect(world.status.currentStatus).toBe("valid");
    expect(world.writes).toBe(2);
  });

  test("tells of another object of the same name, and then comes the answer for the first one", async () => {
    const world = await World.with();
    world.api.fate = () => "done, answer late";
    await world.wish({});
    world.api.create(WEB);
    world.api.fate = () => "done";
    await world.watch();
    for (const deliver of world.api.late) deliver();
    await turns();
    await world.clock.advance(60_000);
    expect(world.status.currentStatus).toBe("valid");
    expect(world.writes).toBe(2);
  });

  test("tells of a change by others, and then comes the answer for what was before it", async () => {
    const world = await World.with();
    world.api.fate = () => "done, answer late";
    await world.wish({});
    world.api.edit(WEB, () => ({ currentStatus: "stolen" }));
    world.api.fate = () => "done";
    await world.watch();
    for (const deliver of world.api.late) deliver();
    await turns();
    expect(world.status.currentStatus).toBe("valid");
    expect(world.writes).toBe(2);
  });

  test("is late to say that an object is gone", async () => {
    const world = await World.with();
    world.api.remove(WEB);
    await world.wish({});
    expect(world.reports.map(({ kind }) => kind)).toEqual(["dropped"]);
    await world.clock.advance(60_000);
    expect(world.writes).toBe(1);
    world.writer.wish(WEB, undefined);
    await world.watch();
    expect(world.clock.running).toBe(0);
  });
});

describe("what fails", () => {
  test("is tried again with a back-off that grows", async () => {
    const world = await World.with();
    world.api.fate = () => "broken";
    await world.wish({});
    await world.clock.advance(20_000);
    const delays = world.reports.flatMap((report) => (report.kind === "retried" ? [report.inMs] : []));
    expect(delays.slice(0, 6)).toEqual([100, 200, 400, 800, 1600, 3200]);
    world.api.fate = () => "done";
    await world.clock.advance(30_000);
    expect(world.reports.at(-1)).toMatchObject({ kind: "written" });
    const writes = world.writes;
    await world.clock.advance(60_000);
    expect(world.writes).toBe(writes);
  });

  test("waits as long as the API server asks, and so does everything else", async () => {
    const world = await World.with();
    const other = objectKey("IngressRoute", "default", "other");
    world.api.create(other);
    await world.watch();
    world.api.fate = () => "throttled";
    await world.wish({});
    world.api.fate = () => "done";
    world.writer.wish(other, wish());
    await world.clock.advance(999);
    expect(world.writes).toBe(1);
    await world.clock.advance(1000);
    expect(world.writes).toBe(3);
  });

  test("may have been done all the same: that costs no second change", async () => {
    const world = await World.with();
    world.api.fate = () => "done, answer lost";
    await world.wish({});
    world.api.fate = () => "done";
    await world.clock.advance(10_000);
    expect(world.writes).toBe(2);
    expect(world.api.changes.get(WEB)).toBe(1);
  });

  test("is not tried again when the watch shows that it was done", async () => {
    const world = await World.with();
    world.api.fate = () => "done, answer lost";
    await world.wish({});
    await world.watch();
    await world.clock.advance(60_000);
    expect(world.writes).toBe(1);
  });

  test("of objects that grow beyond what can be stored is theirs alone, and is not tried again", async () => {
    await expectNoHarm("too large", 20);
  });

  test("of objects whose status somebody refuses is theirs alone", async () => {
    const attempts = await expectNoHarm("forbidden", 20);
    expect(attempts).toBeGreaterThan(20);
  });

  test("that is to last for a day is looked at again before", async () => {
    const world = await World.with();
    world.api.fate = () => "closed for a day";
    await world.wish({});
    world.api.fate = () => "done";
    const other = objectKey("IngressRoute", "default", "other");
    world.api.create(other);
    world.writer.wish(other, wish());
    await world.watch();
    await world.clock.advance(30_000);
    expect(world.api.changes.get(other)).toBe(1);
  });

  test("all around is not found out by each object by itself", async () => {
    const world = new World();
    const keys = Array.from({ length: 500 }, (_, i) => objectKey("IngressRoute", "default", `r${i}`));
    for (const key of keys) world.api.create(key);
    world.api.fate = () => "broken";
    world.leading(true);
    for (const key of keys) world.writer.wish(key, wish());
    await world.watch();
    await world.clock.advance(60_000);
    expect(world.writes).toBeLessThan(200);
    world.api.fate = () => "done";
    await world.clock.advance(120_000);
    for (const key of keys) expect(world.api.changes.get(key)).toBe(1);
  });
});

/** However many objects of a tenant fail, those of others are written at once. Returns how often the tenant's were tried. */
async function expectNoHarm(fate: Fate, count: number): Promise<number> {
  const world = new World();
  const bad = Array.from({ length: count }, (_, i) => objectKey("IngressRoute", "tenant", `r${i}`));
  const isBad = ({ path }: { readonly path: string }) => path.includes("/namespaces/tenant/");
  for (const key of bad) world.api.create(key);
  world.api.fate = (request) => (isBad(request) ? fate : "done");
  world.leading(true);
  for (const key of bad) world.writer.wish(key, wish());
  await world.watch();
  await world.clock.advance(10_000);
  world.api.create(WEB);
  world.writer.wish(WEB, wish());
  await world.watch();
  await world.clock.advance(100);
  expect(world.api.changes.get(WEB)).toBe(1);
  const attempts = world.api.requests.filter(isBad).length;
  if (fate === "too large") expect(attempts).toBe(count);
  return attempts;
}

describe("an object that gives much to do", () => {
  test("because somebody else writes its status all the time is written at its rate, and right in the end", async () => {
    const world = await World.with();
    for (let i = 0; i < 100; i++) {
      world.api.edit(WEB, () => ({ currentStatus: `stolen-${i}` }));
      await world.wish({});
      await world.watch();
      await world.clock.advance(100);
    }
    const { objectBurst, objectPerSecond } = WRITER_DEFAULTS;
    expect(world.writes).toBeLessThanOrEqual(objectBurst + 10 * objectPerSecond);
    expect(world.writes).toBeGreaterThanOrEqual(objectBurst + 9 * objectPerSecond);
    await world.clock.advance(1000);
    expect(world.status.currentStatus).toBe("valid");
  });

  test("because its spec is flipped gets the last of what was to be said", async () => {
    const world = await World.with();
    for (let generation = 1; generation <= 50; generation++) {
      world.api.edit(WEB);
      await world.wish({ generation });
      await world.watch();
      await world.clock.advance(10);
    }
    expect(world.writes).toBe(WRITER_DEFAULTS.objectBurst);
    await world.clock.advance(1000);
    expect(world.writes).toBe(WRITER_DEFAULTS.objectBurst + 1);
    expect(world.condition("Valid").observedGeneration).toBe(50);
    expect(world.writer.waiting()).toEqual({ count: 0, oldestMs: 0 });
  });

  test("does not lose its turn because it changes meanwhile", async () => {
    const world = new World({ perSecond: 1, burst: 1 });
    world.leading(true);
    const keys = Array.from({ length: 5 }, (_, i) => objectKey("IngressRoute", "default", `r${i}`));
    for (const key of keys) {
      world.api.create(key);
      world.writer.wish(key, wish());
    }
    await world.watch();
    const [, second] = keys;
    if (second === undefined) throw new Error("no key");
    for (let i = 0; i < 10; i++) {
      await world.clock.advance(99);
      world.writer.wish(second, wish({ warning: String(i) }));
    }
    await world.clock.advance(100);
    expect(world.api.requests.map(({ path }) => path.split("/").at(-2))).toEqual(["r0", "r1"]);
  });

  test("has thousands beside it, and an object of another namespace is next all the same", async () => {
    const world = new World({ perSecond: 10, burst: 1 });
    world.leading(true);
    const crowd = Array.from({ length: 5000 }, (_, i) => objectKey("IngressRoute", "crowd", `r${i}`));
    for (const key of [...crowd, WEB]) {
      world.api.create(key);
      world.writer.wish(key, wish());
    }
    await world.watch();
    await world.clock.advance(200);
    expect(world.api.changes.get(WEB)).toBe(1);
    expect(world.writer.waiting()).toEqual({ count: 4998, oldestMs: 200 });
  });
});

describe("an edit of the author", () => {
  test("does not wait for the back-off of what was before", async () => {
    const world = await World.with();
    world.api.fate = () => "broken";
    await world.wish({});
    await world.clock.advance(4000);
    world.api.fate = () => "done";
    const { writes } = world;
    await world.wish({ warning: "not by him" });
    expect(world.writes).toBe(writes);
    await world.wish({ generation: 2 });
    expect(world.condition("Valid").observedGeneration).toBe(2);
    await world.clock.advance(60_000);
    expect(world.writes).toBe(writes + 1);
  });

  test("does not wait for it when the write fails after the edit either, nor does another object of that name", async () => {
    const world = await World.with();
    world.api.fate = undefined;
    await world.wish({});
    await world.wish({ generation: 2 });
    world.api.pending[0]?.finish("broken");
    await turns();
    world.api.remove(WEB);
    world.api.create(WEB);
    await world.watch();
    world.api.pending[0]?.finish("broken");
    world.api.fate = () => "done";
    await turns();
    expect(world.condition("Valid").observedGeneration).toBe(2);
    expect(world.writes).toBe(3);
  });
});

describe("a status that is not taken", () => {
  const theirs = (count: number) =>
    Array.from({ length: count }, (_, i) => ({ type: `Theirs${i}`, status: "True", message: "x" }));
  const refusesTheirs = (status: unknown) => {
    if (String(JSON.stringify(status)).includes("Theirs0")) throw refusal(422, "Invalid");
    return status;
  };

  test("because of the conditions of others is written without them", async () => {
    const world = await World.with({ conditions: theirs(1) });
    world.api.admit = refusesTheirs;
    await world.wish({});
    expect(world.reports.map(({ kind }) => kind)).toEqual(["reduced", "written"]);
    expect(world.conditions.map(({ type }) => type)).toEqual(["Valid", "Programmed"]);
    world.api.edit(WEB, (status) => ({ ...record(status), conditions: [{ type: "Good", status: "True" }] }));
    await world.watch();
    expect(world.conditions.map(({ type }) => type)).toEqual(["Valid", "Programmed", "Good"]);
  });

  test("even without them is left until something changes", async () => {
    const world = await World.with({ conditions: theirs(1) });
    world.api.admit = () => {
      throw refusal(422, "Invalid");
    };
    await world.wish({});
    await world.clock.advance(60_000);
    expect(world.reports.map(({ kind }) => kind)).toEqual(["reduced", "refused"]);
    expect(world.writes).toBe(2);
  });

  test("has room for as many conditions of others as the schema takes", async () => {
    const world = await World.with({ conditions: theirs(40) });
    await world.wish({});
    expect(world.conditions.length).toBe(MAX_CONDITIONS);
    expect(world.conditions.slice(0, 3).map(({ type }) => type)).toEqual(["Valid", "Programmed", "Theirs0"]);
  });

  test("cannot be too long", async () => {
    const world = await World.with();
    const long = `${"x".repeat(MAX_TEXT_LENGTH - 2)}\u{1f600}${"y".repeat(100_000)}`;
    await world.wish({ description: long, warning: long, programmed: { ...REFUSED, message: long } });
    const cut = `${"x".repeat(MAX_TEXT_LENGTH - 2)}…`;
    expect(world.status.description).toBe(cut);
    expect(world.conditions.map(({ message }) => message)).toEqual([cut, cut, cut]);
    await world.watch();
    await world.wish({ description: long, warning: long, programmed: { ...REFUSED, message: long } });
    expect(world.writes).toBe(1);
  });
});

describe("leadership", () => {
  test("begins with a comparison, and only differences are written", async () => {
    const world = new World();
    const before = await World.with();
    await before.wish({});
    const [same, other, unwished] = ["same", "other", "unwished"].map((name) =>
      objectKey("IngressRoute", "default", name),
    );
    if (same === undefined || other === undefined || unwished === undefined) throw new Error("no keys");
    world.api.create(same, before.status);
    world.api.create(other, { ...before.status, description: "broken" });
    world.api.create(unwished, { currentStatus: "theirs" });
    await world.watch();
    for (const key of [same, other]) world.writer.wish(key, wish());
    await world.clock.advance(5000);
    expect([world.writes, world.writer.waiting().count]).toEqual([0, 0]);
    world.leading(true);
    await turns();
    expect(world.api.requests.map(({ path }) => path.split("/").at(-2))).toEqual(["other"]);
  });

  test("that ends stops everything, also what waits for a retry", async () => {
    const world = await World.with();
    world.api.fate = () => "broken";
    await world.wish({});
    world.leading(false);
    await world.clock.advance(60_000);
    expect(world.writes).toBe(1);
    expect(world.clock.running).toBe(0);
    world.api.fate = () => "done";
    world.leading(true);
    await turns();
    expect(world.status.currentStatus).toBe("valid");
  });

  test("that has ended before anybody was told stops writes all the same", async () => {
    const world = await World.with();
    world.leads = false;
    await world.wish({});
    await world.clock.advance(60_000);
    expect(world.writes).toBe(0);
    world.leads = true;
    await world.clock.advance(1000);
    expect(world.writes).toBe(1);
  });

  test("that ends aborts what is on its way, and stop waits for it", async () => {
    const world = await World.with();
    world.api.fate = undefined;
    await world.wish({});
    await world.writer.stop();
    expect(world.api.requests[0]?.signal?.aborted).toBe(true);
    expect(world.api.pending).toEqual([]);
    expect(world.clock.running).toBe(0);
    world.leading(true);
    await world.wish({ description: "broken" });
    expect(world.writes).toBe(1);
  });
});

describe("a status that Envoys have not answered for", () => {
  test("waits for them, so that one change costs one write", async () => {
    const world = await World.with();
    await world.wish({ standing: "pending" });
    await world.clock.advance(900);
    expect(world.writes).toBe(0);
    await world.wish({});
    expect(world.writes).toBe(1);
    await world.clock.advance(20_000);
    expect(world.writes).toBe(1);
  });

  test("is written without them after a second, and names the laggard", async () => {
    const world = await World.with();
    await world.wish({ standing: "pending" });
    await world.clock.advance(1000);
    expect(world.condition("Programmed")).toMatchObject(PENDING);
    expect(world.writes).toBe(1);
    await world.clock.advance(20_000);
    await world.wish({});
    expect(world.condition("Programmed")).toMatchObject(ACCEPTED);
    expect(world.writes).toBe(2);
  });

  test("does not wait longer because it changes meanwhile", async () => {
    const world = await World.with();
    for (let generation = 1; generation <= 5; generation++) {
      await world.wish({ standing: "pending", generation });
      await world.clock.advance(250);
    }
    expect(world.writes).toBe(1);
  });

  test("waits a second for each change while an Envoy lags behind", async () => {
    const world = await World.with();
    await world.wish({ standing: "pending" });
    await world.clock.advance(5000);
    await world.wish({ standing: "pending", generation: 2 });
    expect(world.writes).toBe(1);
    await world.clock.advance(500);
    await world.wish({ generation: 2 });
    expect(world.writes).toBe(2);
    expect(world.condition("Programmed")).toMatchObject({ ...ACCEPTED, observedGeneration: 2 });
  });

  test("tells of a refusal after a second, though others have not answered", async () => {
    const world = await World.with();
    await world.wish({});
    await world.wish({ standing: "refused" });
    await world.clock.advance(999);
    expect(world.writes).toBe(1);
    await world.clock.advance(1);
    expect(world.condition("Programmed")).toMatchObject(REFUSED);
  });

  test("keeps what was said of this generation while no Envoy is there", async () => {
    const world = await World.with();
    await world.wish({});
    await world.wish({ standing: "unheard" });
    await world.clock.advance(60_000);
    expect(world.writes).toBe(1);
    // Something else to say does not change that.
    await world.wish({ standing: "unheard", warning: "look here" });
    await world.clock.advance(1000);
    expect(world.condition("Warnings")).toMatchObject({ message: "look here" });
    expect(world.condition("Programmed")).toMatchObject({ ...ACCEPTED, lastTransitionTime: T0 });
    await world.wish({ standing: "unheard", generation: 2 });
    await world.clock.advance(1000);
    expect(world.condition("Programmed")).toMatchObject({ ...NO_ENVOY, observedGeneration: 2 });
    expect(world.writes).toBe(3);
  });

  test("keeps it for ten seconds while Envoys are slow, as they are when they start", async () => {
    const world = await World.with();
    await world.wish({});
    await world.wish({ standing: "pending" });
    await world.clock.advance(9999);
    expect(world.writes).toBe(1);
    await world.clock.advance(1);
    expect(world.condition("Programmed")).toMatchObject(PENDING);
    expect(world.writes).toBe(2);
  });

  test("costs at most one write in ten seconds while other laggards are named", async () => {
    const world = await World.with();
    await world.wish({ standing: "pending" });
    await world.clock.advance(1000);
    for (let i = 0; i < 90; i++) {
      await world.wish({ standing: "pending", programmed: { ...PENDING, message: `not yet accepted by ${i}` } });
      await world.clock.advance(100);
    }
    expect(world.writes).toBe(1);
    await world.clock.advance(1000);
    expect(world.writes).toBe(2);
  });
});

test("writes are few at once, and not faster than the rate in the long run", async () => {
  const world = new World({ concurrency: 3, burst: 10, perSecond: 5 });
  world.leading(true);
  const keys = Array.from({ length: 40 }, (_, i) => objectKey("IngressRoute", "default", `r${i}`));
  for (const key of keys) {
    world.api.create(key);
    world.writer.wish(key, wish());
  }
  world.api.fate = undefined;
  await world.watch();
  expect(world.api.pending.length).toBe(3);
  expect(world.writer.waiting().count).toBe(40);
  world.api.fate = () => "done";
  for (const { finish } of [...world.api.pending]) finish("done");
  await turns();
  await turns();
  expect(world.writes).toBe(10);
  await world.clock.advance(2000);
  expect(world.writes).toBe(20);
  await world.clock.advance(4000);
  expect(world.writes).toBe(40);
  expect(world.api.mostPending).toBe(3);
  expect(world.writer.waiting().count).toBe(0);
});

test("the addresses of an Ingress are written to its status", async () => {
  const world = new World();
  const key = objectKey("Ingress", "default", "web");
  world.api.create(key, { loadBalancer: { ingress: [{ ip: "192.0.2.9" }] }, other: 1 });
  world.leading(true);
  await world.watch();
  const addresses = [{ ip: "192.0.2.1" }, { hostname: "lb.example.com" }];
  world.writer.wish(key, { kind: "Ingress", addresses });
  await turns();
  expect(world.api.requests[0]?.path).toBe("/apis/networking.k8s.io/v1/namespaces/default/ingresses/web/status");
  expect(world.api.get(key)?.status).toEqual({ loadBalancer: { ingress: addresses }, other: 1 });
  await world.watch();
  world.api.edit(key, () => ({ loadBalancer: "none" }));
  await world.watch();
  expect(world.api.get(key)?.status).toEqual({ loadBalancer: { ingress: addresses } });
  expect(world.writes).toBe(2);
});

// ---- the law

const RUNS = Number(process.env.RUNS ?? 300);

const KEYS = ["a", "b", "c"].map((name) => objectKey("IngressRoute", "n", name));

type Step =
  | { readonly kind: "wish"; readonly n: number; readonly what: number; readonly standing: Standing }
  | { readonly kind: "unwish" | "create" | "remove" | "edit" | "overwrite"; readonly n: number }
  | { readonly kind: "watch"; readonly count: number }
  | { readonly kind: "answer"; readonly which: number; readonly fate: Fate }
  | { readonly kind: "deliver" }
  | { readonly kind: "leading"; readonly isLeading: boolean }
  | { readonly kind: "wait"; readonly ms: number };

const n = fc.nat(KEYS.length - 1);
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant("wish" as const),
        n,
        what: fc.nat(3),
        standing: fc.constantFrom<Standing[]>("settled", "settled", "pending", "unheard", "refused"),
      }),
    },
    {
      weight: 2,
      arbitrary: fc.record({ kind: fc.constantFrom("create" as const, "edit" as const, "overwrite" as const), n }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("unwish" as const, "remove" as const), n }) },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("watch" as const), count: fc.integer({ min: 1, max: 4 }) }) },
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant("answer" as const),
        which: fc.nat(7),
        fate: fc.constantFrom<Fate[]>(
          ...(["done", "done", "done, answer late", "done, answer late"] as const),
          ...(["done, answer lost", "lost", "throttled", "broken"] as const),
        ),
      }),
    },
    { weight: 3, arbitrary: fc.constant({ kind: "deliver" as const }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant("leading" as const), isLeading: fc.boolean() }) },
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(1, 100, 1000, 11_000) }),
    },
  ),
  { maxLength: 60 },
);

const wishOf = (what: number, standing: Standing): IngressRouteWish =>
  wish({
    generation: 1 + (what % 2),
    standing,
    ...(what < 2 ? {} : { description: "broken" }),
    ...(what === 1 ? { warning: "look here" } : {}),
  });

/** Plays a history, and counts for each object the occasions on which its status may have to be changed. */
class Play {
  readonly world = new World();
  readonly occasions = new Map<string, number>();
  readonly wished = new Map<string, { readonly what: number; readonly standing: Standing }>();
  #isLeading = false;

  constructor() {
    this.world.leads = false;
    this.world.api.fate = undefined;
    for (const key of KEYS) this.world.api.create(key);
  }

  async step(step: Step): Promise<void> {
    const { world } = this;
    const key = "n" in step ? KEYS[step.n] : undefined;
    switch (step.kind) {
      case "wish": {
        if (key === undefined) return;
        const { what, standing } = step;
        const before = this.wished.get(key);
        // What is pending may have to be told in two steps: what is known, and later that Envoys lag behind.
        if (before?.what !== what || before.standing !== standing) this.#occasion(key, standing === "pending" ? 2 : 1);
        this.wished.set(key, { what, standing });
        world.writer.wish(key, wishOf(what, standing));
        break;
      }
      case "unwish":
        if (key === undefined) return;
        this.wished.delete(key);
        world.writer.wish(key, undefined);
        break;
      case "create":
        if (key === undefined) return;
        world.api.create(key);
        this.#occasion(key, 1);
        break;
      case "remove":
        if (key !== undefined) world.api.remove(key);
        break;
      case "edit":
        if (key !== undefined) world.api.edit(key);
        break;
      case "overwrite":
        if (key === undefined) return;
        world.api.edit(key, () => ({ currentStatus: "stolen", conditions: 7 }));
        this.#occasion(key, 1);
        break;
      case "watch":
        await world.watch(step.count);
        break;
      case "answer":
        world.api.pending[step.which % Math.max(1, world.api.pending.length)]?.finish(step.fate);
        break;
      case "deliver":
        world.api.late.shift()?.();
        break;
      case "leading":
        this.#isLeading = step.isLeading;
        world.leading(step.isLeading);
        break;
      case "wait":
        await world.clock.advance(step.ms);
        break;
    }
    const sent = world.writes;
    await turns();
    if (!this.#isLeading) expect(world.writes, "nothing is sent by whoever does not lead").toBe(sent);
  }

  /** From now on everything works, and time passes. */
  async finish(): Promise<void> {
    const { world } = this;
    world.api.fate = () => "done";
    for (const { finish } of [...world.api.pending]) finish("done");
    for (const deliver of world.api.late.splice(0)) deliver();
    await turns();
    world.leading(true);
    for (const [key, { what, standing }] of this.wished) {
      if (standing === "settled") continue;
      this.#occasion(key, 1);
      this.wished.set(key, { what, standing: "settled" });
      const at = KEYS.find((each) => each === key);
      if (at !== undefined) world.writer.wish(at, wishOf(what, "settled"));
    }
    for (let i = 0; i < 10; i++) {
      await world.watch();
      await world.clock.advance(40_000);
    }
  }

  #occasion(key: string, count: number): void {
    this.occasions.set(key, (this.occasions.get(key) ?? 0) + count);
  }
}

describe.each(SEEDS)("laws of the writer, SEED=%i", (seed) => {
  test("whatever happens, every status becomes what is wished, and each occasion costs at most one change", async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (history) => {
        const play = new Play();
        for (const step of history) await play.step(step);
        await play.finish();
        const { world, wished, occasions } = play;
        for (const key of KEYS) {
          const stored = world.api.get(key);
          const wanted = wished.get(key);
          if (stored !== undefined && wanted !== undefined) {
            const { currentStatus, description, conditions, programmed } = wishOf(wanted.what, "settled");
            expect(stored.status).toMatchObject({ currentStatus, description });
            const found = record(stored.status).conditions;
            const without = Array.isArray(found) ? found.map(({ lastTransitionTime, ...rest }) => rest) : [];
            expect(without).toEqual([...conditions, programmed]);
          }
          const most = occasions.get(key) ?? 0;
          expect(world.api.changes.get(key) ?? 0).toBeLessThanOrEqual(most);
          expect(world.api.successes.get(key) ?? 0).toBeLessThanOrEqual(most);
        }
        expect(world.writer.waiting().count).toBe(0);
        const sent = world.writes;
        await world.clock.advance(100_000);
        expect(world.writes).toBe(sent);
        expect(world.clock.running).toBe(0);
      }),
      { seed, numRuns: RUNS },
    );
  });
});
