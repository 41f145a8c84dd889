import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ApiError, ConnectionError } from "../../src/kube/errors.ts";
import type { ReflectedChange } from "../../src/kube/known-objects.ts";
import { Reflector, type ReflectorEvent } from "../../src/kube/reflector.ts";
import { type Fault, ModelApi, type ModelObject, QuickClock, turn } from "./model-api.ts";

/** A reflector of a model, and what it has told. */
class Reflected {
  readonly api = new ModelApi();
  readonly clock = new QuickClock();
  /** States by namespace and name. */
  readonly objects = new Map<string, string>();
  readonly batches: (readonly ReflectedChange[])[] = [];
  readonly troubles: string[] = [];
  readonly events: ReflectorEvent[] = [];
  synced = 0;
  changed: (changes: readonly ReflectedChange[]) => void = () => {};
  readonly reflector = new Reflector({
    client: this.api,
    path: "/api/v1/things",
    query: { fieldSelector: "type!=a" },
    pageSize: 2,
    clock: this.clock,
    observer: (event) => this.events.push(event),
    listener: {
      changed: (changes) => {
        this.changed(changes);
        this.batches.push(changes);
        for (const change of changes) {
          const key = `${change.namespace}/${change.name}`;
          if (change.kind === "applied") this.objects.set(key, stateOf(change.raw));
          else this.objects.delete(key);
        }
      },
      synced: () => {
        this.synced++;
      },
      trouble: (error) => this.troubles.push(error instanceof Error ? error.message : "over"),
    },
  });

  get isRight(): boolean {
    const { objects } = this.api;
    return (
      this.objects.size === objects.size &&
      [...objects].every(([key, object]) => this.objects.get(key) === stateOf(object))
    );
  }

  async until(check: () => boolean): Promise<void> {
    for (let turns = 0; turns < 500 && !check(); turns++) await turn();
    if (!check()) throw new Error(`it did not come to that: ${JSON.stringify([...this.objects])}`);
  }

  /** Everything was told and the watch goes on. */
  async settled(): Promise<void> {
    await this.until(() => this.isRight && this.api.openWatches === 1 && this.synced === 1);
  }

  get told(): readonly string[] {
    return this.batches.flat().map(({ kind, name }) => `${kind} ${name}`);
  }

  /** Why there were lists. */
  get reasons(): readonly string[] {
    return this.events.flatMap((event) => (event.kind === "list" ? [event.reason] : []));
  }
}

/** What tells one state of an object from another. */
function stateOf(raw: unknown): string {
  const { metadata, spec } = raw as ModelObject;
  return `${metadata.resourceVersion}/${spec}`;
}

let it: Reflected;
beforeEach(() => {
  it = new Reflected();
});
afterEach(() => it.reflector.stop());

async function start(...names: string[]): Promise<void> {
  for (const name of names) it.api.set("n", name);
  it.reflector.start();
  await it.settled();
}

describe("a reflector", () => {
  test("lists page by page, is synced, and then watches", async () => {
    await start("a", "b", "c", "d", "e");
    expect(it.told).toEqual(["applied a", "applied b", "applied c", "applied d", "applied e"]);
    expect(it.batches.map(({ length }) => length)).toEqual([2, 2, 1]);
    expect(it.reflector.isSynced).toBe(true);
    it.api.set("n", "a");
    it.api.remove("n", "b");
    it.api.set("m", "b");
    await it.settled();
    expect(it.told.slice(5)).toEqual(["applied a", "deleted b", "applied b"]);
    expect(it.batches, "what comes together is told together").toHaveLength(4);
    const selected = { fieldSelector: "type!=a" };
    expect(it.api.asked.queries).toEqual([
      { ...selected, limit: "2" },
      { ...selected, limit: "2", continue: "15:2" },
      { ...selected, limit: "2", continue: "15:4" },
      { ...selected, watch: "true", allowWatchBookmarks: "true", resourceVersion: "15", timeoutSeconds: "450" },
    ]);
  });

  test("asks for fewer objects at a time where they are too large, and for more again after that", async () => {
    it.api.mostPerPage = 1;
    await start("a", "b", "c", "d");
    expect(it.told).toEqual(["applied a", "applied b", "applied c", "applied d"]);
    expect(it.troubles).toEqual([]);
    expect(it.api.asked.lists).toBe(2);
    expect(it.api.asked.queries.flatMap(({ limit = [] }) => limit).slice(0, 4)).toEqual(["2", "1", "2", "1"]);
  });

  test("is synced when there is nothing at all", async () => {
    await start();
    expect(it.batches).toEqual([]);
  });

  test.each<[string, Error | undefined]>([
    ["ended", undefined],
    ["cut", new ConnectionError("cut", "cut")],
    ["silent", new ConnectionError("timeout", "nothing came")],
  ])("goes on where a watch was %s, without a list and telling nothing twice", async (_, how) => {
    await start("a", "b");
    it.clock.pass(60_000);
    it.api.compact(); // only the bookmark saves it from a list
    it.api.bookmark();
    await turn();
    it.api.endWatches(how);
    it.api.set("n", "c");
    await it.settled();
    expect(it.told).toEqual(["applied a", "applied b", "applied c"]);
    expect(it.api.asked).toMatchObject({ lists: 1, watches: 2 });
    expect(it.troubles).toEqual([]);
    expect(it.clock.slept).toHaveLength(how === undefined ? 0 : 1);
  });

  test.each([
    ["the answer", 13],
    ["an event", 12],
  ])("lists anew when it has been away for too long, told so by %s, and tells what is different", async (_, count) => {
    const names = ["a", "b", "c"].slice(0, count - 10);
    await start(...names);
    it.clock.pass(60_000);
    it.api.endWatches();
    it.api.set("n", "a");
    it.api.remove("n", "b");
    it.api.set("n", "x");
    it.api.compact();
    await it.settled();
    expect(it.told.slice(names.length).sort()).toEqual(["applied a", "applied x", "deleted b"]);
    expect(it.api.asked.lists).toBe(2);
    expect(it.reasons).toEqual(["first", "expired"]);
    expect(it.synced).toBe(1);
  });

  test("begins a list again whose later pages are too old", async () => {
    for (const name of "abcde") it.api.set("n", name);
    it.reflector.start();
    await it.until(() => it.batches.length === 1);
    it.api.remove("n", "a");
    it.api.compact();
    await it.settled();
    expect(it.told).toEqual(["applied a", "applied b", "applied c", "applied d", "applied e", "deleted a"]);
    expect(it.synced).toBe(1);
  });

  test("tells everything once more when versions were set back", async () => {
    await start("a", "b");
    it.clock.pass(60_000);
    await it.api.setBack();
    await it.until(() => it.told.length === 4);
    await it.settled();
    expect(it.told.slice(2)).toEqual(["applied a", "applied b"]);
    expect(new Set(it.reasons)).toEqual(new Set(["first", "setback"]));
  });

  test("waits longer with every failure, and tells of trouble when it lasts", async () => {
    it.api.faults.push("cut", "500", "403", "garbled");
    await start("a");
    expect(it.clock.slept).toEqual([100, 200, 400, 800]);
    expect(it.troubles).toEqual(["500", "403", "garbled", "over"]);
    it.clock.pass(60_000);
    it.api.endWatches(new ConnectionError("cut", "cut"));
    await it.settled();
    expect(it.clock.slept.slice(4), "what has worked counts as new").toEqual([100]);
    expect(it.events.flatMap((event) => (event.kind === "error" ? [event.label] : []))).toEqual([
      "cut",
      "500",
      "403",
      "garbled",
      "cut",
    ]);
  });

  test("waits as long as the server wants", async () => {
    const { request } = it.api;
    let refused = false;
    it.api.request = async (...args) => {
      if (refused) return request.apply(it.api, args);
      refused = true;
      throw new ApiError({ status: 429, reason: "", message: "", causes: [], retryAfterMs: 7_000 });
    };
    await start("a");
    expect(it.clock.slept).toEqual([7_100]);
  });

  test("does not hammer a server that ends every watch at once", async () => {
    it.reflector.start();
    for (let watches = 1; watches <= 5; watches++) {
      await it.until(() => it.api.openWatches === 1);
      it.api.endWatches();
      await it.until(() => it.clock.slept.length === watches);
    }
    expect(it.clock.slept).toEqual([100, 200, 400, 800, 1600]);
    expect(it.api.asked.lists).toBe(1);
  });

  test.each<[string, unknown]>([
    ["no object", []],
    ["no type", { object: { metadata: { name: "a", resourceVersion: "1" } } }],
    ["no name", { type: "ADDED", object: { metadata: { resourceVersion: "1" } } }],
    ["no version", { type: "ADDED", object: { metadata: { name: "a" } } }],
  ])("survives an event with %s", async (_, event) => {
    await start("a");
    it.api.set("n", "b");
    it.api.endWatches(event as never);
    await turn();
    it.api.set("n", "c");
    await it.settled();
    expect(it.told).toEqual(["applied a", "applied b", "applied c"]);
  });

  test("lists what it cannot get past, and no more often than a server can bear", async () => {
    await start("a");
    it.api.spoil();
    it.api.set("n", "b");
    await it.until(() => it.isRight && it.api.asked.watches === 4);
    expect(it.told).toEqual(["applied a", "applied b"]);
    expect(it.reasons).toEqual(["first", "unreadable"]);
    expect(it.clock.slept).toEqual([100, 200, 400]);
    expect(it.troubles).toEqual(["an event of no known type came", "an event of no known type came"]);
    it.api.bookmark();
    await it.until(() => it.troubles.at(-1) === "over");

    // Every watch meets something unreadable from now on.
    const { watch } = it.api;
    it.api.watch = async (...args) => {
      it.api.spoil();
      return watch.apply(it.api, args);
    };
    it.api.endWatches();
    await it.until(() => it.clock.slept.length >= 3 + 12);
    expect(it.clock.slept.slice(-3)).toEqual([15_000, 15_000, 15_000]);
    it.api.watch = watch;
  });

  test("tells a listener again what it threw at", async () => {
    let bugs = 2;
    it.changed = () => {
      if (bugs-- > 0) throw new Error("a bug");
    };
    await start("a", "b", "c");
    expect(it.isRight).toBe(true);
    expect(new Set(it.reasons)).toEqual(new Set(["first", "bug"]));
  });

  test("tells nothing after it was stopped, whatever it is doing", async () => {
    for (let turns = 0; turns < 12; turns++) {
      const one = new Reflected();
      for (const name of "abcde") one.api.set("n", name);
      one.api.faults.push("cut");
      one.reflector.start();
      for (let i = 0; i < turns; i++) await turn();
      await one.reflector.stop();
      const { batches, synced } = one;
      const before = [batches.length, synced];
      one.api.set("n", "x");
      for (let i = 0; i < 20; i++) await turn();
      expect([batches.length, one.synced]).toEqual(before);
    }
  });
});

type Step =
  | { readonly kind: "set" | "remove"; readonly name: string }
  | { readonly kind: "cut" | "end" | "compact" | "bookmark" | "setBack" | "turn" | "wait" }
  | { readonly kind: "fault"; readonly fault: Fault };

const name = fc.constantFrom(..."abcdefg");
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom("set" as const, "remove" as const), name }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom("cut" as const, "end" as const, "compact" as const, "bookmark" as const, "turn" as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("setBack" as const, "wait" as const) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("fault" as const),
      fault: fc.constantFrom<Fault>("cut", "garbled", "429", "500", "403", "expired"),
    }),
  },
);

/** Seeds that once failed stay here. */
for (const seed of [1, 2, 3, ...(process.env.SEED ? [Number(process.env.SEED)] : [])]) {
  test(`law: whatever happens in between, in the end everything has been told (SEED=${seed})`, async () => {
    const steps = fc.array(step, { maxLength: 40 });
    await fc.assert(
      fc.asyncProperty(steps, async (script) => {
        const one = new Reflected();
        for (const known of "abcd") one.api.set("n", known);
        one.reflector.start();
        await one.settled();
        let excuses = 1;
        for (const happening of script) {
          switch (happening.kind) {
            case "set":
            case "remove":
              one.api[happening.kind]("n", happening.name);
              break;
            case "cut":
              one.api.endWatches(new ConnectionError("cut", "cut"));
              break;
            case "end":
              one.api.endWatches();
              break;
            case "fault":
              one.api.faults.push(happening.fault);
              excuses++;
              break;
            case "compact":
              one.api.compact();
              excuses++;
              break;
            case "setBack":
              // A list for another reason in between would hide it.
              one.api.faults.length = 0;
              await one.settled();
              await one.api.setBack();
              excuses++;
              await one.until(() => one.api.openWatches === 1);
              break;
            case "bookmark":
              one.api.bookmark();
              break;
            case "turn":
              await turn();
              break;
            case "wait":
              for (let i = 0; i < 10; i++) await turn();
              break;
          }
        }
        await one.settled();
        expect(one.api.asked.lists).toBeLessThanOrEqual(excuses);
        await one.reflector.stop();
      }),
      { seed, numRuns: Number(process.env.RUNS ?? 150) },
    );
  });
}
