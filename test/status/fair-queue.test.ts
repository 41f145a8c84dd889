import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FairQueue } from "../../src/status/fair-queue.ts";
import { SEEDS } from "../laws/worlds.ts";

const INTERVAL_MS = 1000;
const TICK_MS = INTERVAL_MS / 10;
const BURST = 3;

const groupOf = (key: string): string => key.split("/")[0] ?? "";

function queue(): FairQueue<string> {
  return new FairQueue<string>({ groupOf, burst: BURST, perSecond: 1000 / INTERVAL_MS });
}

/** Takes what may have its turn at that time. */
function takeAll(fair: FairQueue<string>, nowMs: number): readonly string[] {
  const taken: string[] = [];
  for (let turn = fair.next(nowMs); turn.kind === "now"; turn = fair.next(nowMs)) {
    fair.take(turn.key, nowMs);
    taken.push(turn.key);
  }
  return taken;
}

test("groups have their turns one after the other, and their keys in the order in which they came", () => {
  const fair = queue();
  for (const key of ["a/1", "a/2", "a/3", "b/1", "c/1", "c/2"]) fair.add(key, 0);
  expect(takeAll(fair, 0)).toEqual(["a/1", "b/1", "c/1", "a/2", "c/2", "a/3"]);
  expect(fair.next(0)).toEqual({ kind: "none" });
});

test("one key of a group does not wait for thousands of another", () => {
  const fair = queue();
  for (let i = 0; i < 5000; i++) fair.add(`crowd/${i}`, 0);
  fair.take("crowd/0", 0);
  fair.add("alone/1", 0);
  expect(takeAll(fair, 0).indexOf("alone/1")).toBe(1);
});

test("a key that is added again keeps its place, and one that was deleted does not", () => {
  const fair = queue();
  for (const key of ["a/1", "a/2", "a/3", "a/1"]) fair.add(key, 0);
  fair.delete("a/2");
  fair.add("a/2", 0);
  expect(fair.size).toBe(3);
  expect(takeAll(fair, 0)).toEqual(["a/1", "a/3", "a/2"]);
});

test("a key that had its burst rests, and others do not wait for it", () => {
  const fair = queue();
  for (let i = 0; i < BURST; i++) {
    fair.add("a/1", 0);
    expect(takeAll(fair, 0)).toEqual(["a/1"]);
  }
  fair.add("a/1", 0);
  fair.add("a/2", 0);
  expect(takeAll(fair, 0)).toEqual(["a/2"]);
  expect(fair.next(0)).toEqual({ kind: "wait", ms: INTERVAL_MS });
  expect(fair.has("a/1")).toBe(true);
  expect(takeAll(fair, INTERVAL_MS)).toEqual(["a/1"]);
  fair.add("a/1", INTERVAL_MS);
  fair.delete("a/1");
  expect(fair.next(INTERVAL_MS)).toEqual({ kind: "none" });
});

test("what is remembered of a key is forgotten once it has all of its burst again", () => {
  const fair = queue();
  for (let i = 0; i < 1000; i++) fair.add(`a/${i}`, 0);
  takeAll(fair, 0);
  expect(fair.remembered).toBe(1000);
  fair.add("a/1", INTERVAL_MS);
  takeAll(fair, INTERVAL_MS);
  expect(fair.remembered).toBe(1);
});

// ---- the law

const RUNS = Number(process.env.RUNS ?? 500);

type Step =
  | { readonly kind: "add" | "delete"; readonly key: string }
  | { readonly kind: "turn" }
  | { readonly kind: "pass"; readonly ms: number };

const key = fc.tuple(fc.constantFrom("a", "a", "b", "c"), fc.nat(2)).map(([group, name]) => `${group}/${name}`);
const steps: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.oneof(
    { weight: 8, arbitrary: fc.record({ kind: fc.constant("add" as const), key }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete" as const), key }) },
    { weight: 8, arbitrary: fc.constant({ kind: "turn" as const }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("pass" as const), ms: fc.nat(700) }) },
  ),
  { minLength: 20, maxLength: 150 },
);

/** Plays a history beside a plain account of it. */
class Play {
  readonly fair = queue();
  nowMs = 0;
  /** Which wait, in the order in which they came, and whether they could go at once. */
  readonly waiting = new Map<string, { readonly isFresh: boolean }>();
  readonly #turns = new Map<string, number[]>();
  /** By group that could have had a turn: how many turns each of the others has had since. */
  readonly #overtaken = new Map<string, Map<string, number>>();

  step(step: Step): void {
    switch (step.kind) {
      case "add":
        if (!this.waiting.has(step.key)) this.waiting.set(step.key, { isFresh: this.#mayGo(step.key, this.nowMs) });
        this.fair.add(step.key, this.nowMs);
        return;
      case "delete":
        this.waiting.delete(step.key);
        this.fair.delete(step.key);
        // It may have been what its group was in the line for.
        this.#overtaken.delete(groupOf(step.key));
        return;
      case "pass":
        this.nowMs += step.ms;
        return;
      case "turn":
        this.turn();
        return;
    }
  }

  /** Returns how long to wait for the next one; undefined when there is none. */
  turn(): number | undefined {
    this.#notice();
    const turn = this.fair.next(this.nowMs);
    expect(turn.kind === "none", "waiting is known to the queue").toBe(this.waiting.size === 0);
    if (turn.kind === "none") return undefined;
    if (turn.kind === "wait") {
      expect([...this.#overtaken.keys()], "nobody rests who may go").toEqual([]);
      expect(turn.ms).toBeGreaterThan(0);
      expect(turn.ms).toBeLessThanOrEqual(INTERVAL_MS + TICK_MS);
      return turn.ms;
    }
    this.#takes(turn.key);
    this.fair.take(turn.key, this.nowMs);
    expect(this.fair.has(turn.key)).toBe(false);
    expect(this.fair.size).toBe(this.waiting.size);
    return 0;
  }

  #takes(key: string): void {
    const own = this.waiting.get(key);
    expect(own, "only what waits has a turn").toBeDefined();
    expect(this.#mayGo(key, this.nowMs), "nobody goes beyond the rate").toBe(true);
    for (const [other, { isFresh }] of this.waiting) {
      if (other === key) break;
      if (groupOf(other) === groupOf(key)) expect(isFresh, "who came first goes first").toBe(false);
    }
    this.waiting.delete(key);
    this.#turns.set(key, [...(this.#turns.get(key) ?? []), this.nowMs]);
    this.#overtaken.delete(groupOf(key));
    for (const turns of this.#overtaken.values()) {
      const count = (turns.get(groupOf(key)) ?? 0) + 1;
      expect(count, "no group has two turns while another waits for its first").toBe(1);
      turns.set(groupOf(key), count);
    }
  }

  /** Which groups have somebody who may go, and did so for long enough that the queue must know. */
  #notice(): void {
    const able = new Set([...this.waiting.keys()].filter((key) => this.#mayGo(key, this.nowMs - TICK_MS)).map(groupOf));
    for (const group of this.#overtaken.keys()) if (!able.has(group)) this.#overtaken.delete(group);
    for (const group of able) if (!this.#overtaken.has(group)) this.#overtaken.set(group, new Map());
  }

  /** By what a rate means: in no time are there more turns than the burst and what that time adds. */
  #mayGo(key: string, nowMs: number): boolean {
    const turns = this.#turns.get(key) ?? [];
    return turns.every((ms, i) => turns.length - i + 1 <= BURST + (nowMs - ms) / INTERVAL_MS);
  }
}

describe.each(SEEDS)("law of the queue, SEED=%i", (seed) => {
  test("it is fair, keeps to the rate of each key, and loses nothing", () => {
    fc.assert(
      fc.property(steps, (history) => {
        const play = new Play();
        for (const step of history) play.step(step);
        const startMs = play.nowMs;
        for (let ms = play.turn(); ms !== undefined; ms = play.turn()) play.nowMs += ms;
        expect(play.nowMs - startMs).toBeLessThanOrEqual(INTERVAL_MS + TICK_MS);
        expect(play.waiting.size).toBe(0);
      }),
      { seed, numRuns: RUNS },
    );
  });
});
