import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ELECTION_TIMINGS, type ElectionTimings, type Need } from "../../src/kube/lease.ts";
import { ModelLeases, Replica, Timeline } from "../kube/election-world.ts";
import { mulberry } from "../parts/random.ts";
import { RUNS, SEEDS } from "./worlds.ts";

/** One of the replicas, or whichever leads at that time. */
type Who = 0 | 1 | 2 | "leader";

type What =
  | { readonly kind: "crash" | "stop" | "start" | "wake" | "delete" | "touch" | "accept" }
  | { readonly kind: "need"; readonly need: Need }
  | { readonly kind: "sleep"; readonly what: "process" | "machine" }
  | { readonly kind: "partition"; readonly requests: boolean; readonly answers: boolean }
  | { readonly kind: "setClock"; readonly byMs: number }
  | { readonly kind: "refuse"; readonly status: number; readonly retryAfterMs: number }
  /** How long messages of one replica may take. */
  | { readonly kind: "slow"; readonly requestsMs: number; readonly answersMs: number };

const hours = fc.integer({ min: -3, max: 3 }).map((count) => count * 3_600_000);
const seconds = fc.integer({ min: -20, max: 20 }).map((count) => count * 1000);
const slowness = fc.constantFrom(10, 10, 3000, 12_000);

const need = fc.constantFrom<Need[]>("lead", "neither", "yield");

const what: fc.Arbitrary<What> = fc.oneof(
  fc.record({ kind: fc.constantFrom("crash", "stop", "touch", "delete", "delete") }),
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom("start", "wake", "accept") }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("need"), need }),
  },
  fc.record({ kind: fc.constant("sleep"), what: fc.constantFrom("process", "machine") }),
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("partition"), requests: fc.boolean(), answers: fc.boolean() }),
  },
  fc.record({ kind: fc.constant("setClock"), byMs: fc.oneof(hours, seconds) }),
  fc.record({
    kind: fc.constant("refuse"),
    status: fc.constantFrom(403, 429, 500, 503),
    retryAfterMs: fc.constantFrom(0, 1000, 20_000),
  }),
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("slow"), requestsMs: slowness, answersMs: slowness }) },
);

const clocks = (deviation: number) => {
  const rate = fc.double({ min: 1 - deviation, max: 1 + deviation, noNaN: true });
  return fc.tuple(...[0, 1, 2].map(() => fc.record({ rate, skewMs: hours })));
};

const FAST = { requests: 10, answers: 10 };

/** With timings that leave little room, a mistake of little time shows. */
const TIGHT: ElectionTimings = { leaseMs: 11_000, renewMs: 9_500, retryMs: 700, requestMs: 8_000, releaseMs: 3_000 };

const pace = fc.oneof(
  fc.record({ timings: fc.constant(ELECTION_TIMINGS), clocks: clocks(0.15) }),
  fc.record({ timings: fc.constant(TIGHT), clocks: clocks(0.04) }),
);

const story = fc.record({
  steps: fc.array(
    fc.record({
      waitMs: fc.oneof(fc.nat(2000), fc.nat(12_000)),
      who: fc.constantFrom<Who>(0, 1, 2, "leader", "leader", "leader"),
      what,
    }),
    { maxLength: 30 },
  ),
  pace,
  /** A machine that sleeps and has its time of day set back has no clock left that says so. */
  machines: fc.constantFrom("sleep", "are set"),
  beginning: fc.constantFrom("no Lease", "a free Lease"),
  /** Of the replicas, from their start on. */
  needs: fc.tuple(need, need, need),
  chance: fc.nat(),
});
type Story = typeof story extends fc.Arbitrary<infer T> ? T : never;

describe.each(SEEDS)("laws of the election, SEED=%i", (seed) => {
  test("never do two replicas lead, and one does when all is well again", async () => {
    await fc.assert(
      fc.asyncProperty(story, async (told) => {
        const cluster = new Cluster(told);
        for (const step of told.steps) await cluster.take(step);
        cluster.heal();
        await cluster.pass(60_000);
        const [leader, ...others] = cluster.replicas.filter(({ isLeading }) => isLeading);
        expect(leader, "nobody leads").toBeDefined();
        expect(others).toEqual([]);
        const isNeeded = cluster.replicas.some(({ need }) => need === "lead");
        if (isNeeded) expect(leader?.need, "who leads without a need does so beside one who has it").not.toBe("yield");
        for (const { changes, isLeading } of cluster.replicas) {
          expect(changes).toEqual(changes.map((_, at) => at % 2 === 0));
          expect(changes.at(-1) ?? false).toBe(isLeading);
        }
        const { length } = leader?.changes ?? [];
        await cluster.pass(25_000);
        expect(leader?.changes).toHaveLength(length);
      }),
      { seed, numRuns: Math.ceil(RUNS / 2) },
    );
  });
});

class Cluster {
  readonly #story: Story;
  readonly #timeline = new Timeline();
  readonly #leases = new ModelLeases();
  readonly #random: () => number;
  readonly #replicas: Replica[];
  /** Crashed or stopped. */
  readonly #gone = new Set<Replica>();
  readonly #delays = [0, 1, 2].map(() => ({ ...FAST }));
  #started = 0;

  constructor(story: Story) {
    this.#story = story;
    this.#random = mulberry(story.chance);
    if (story.beginning === "a free Lease") this.#leases.put({ metadata: {} });
    this.#replicas = [0, 1, 2].map((slot) => this.#start(slot));
  }

  get replicas(): readonly Replica[] {
    return this.#replicas;
  }

  pass(ms: number): Promise<void> {
    return this.#timeline.pass(ms, () => this.#check());
  }

  async take({ waitMs, who, what }: Story["steps"][number]): Promise<void> {
    await this.pass(waitMs);
    const leader = this.#replicas.findIndex(({ isLeading }) => isLeading);
    const slot = who === "leader" ? Math.max(0, leader) : who;
    const replica = this.#replicas[slot];
    if (replica !== undefined) this.#do(what, slot, replica);
    this.#check();
  }

  heal(): void {
    this.#leases.refusal = undefined;
    for (const delays of this.#delays) Object.assign(delays, FAST);
    for (const [slot, replica] of this.#replicas.entries()) {
      replica.partition(false, false);
      replica.wake();
      this.#restart(slot, replica);
    }
  }

  #do(what: What, slot: number, replica: Replica): void {
    switch (what.kind) {
      case "crash":
        replica.crash();
        this.#gone.add(replica);
        return;
      case "stop":
        this.#gone.add(replica);
        void replica.elector.stop();
        return;
      case "start":
        this.#restart(slot, replica);
        return;
      case "sleep":
        replica.sleep(this.#story.machines === "sleep" ? what.what : "process");
        return;
      case "wake":
        replica.wake();
        return;
      case "partition":
        replica.partition(what.requests, what.answers);
        return;
      case "setClock":
        replica.setClock(this.#story.machines === "sleep" ? Math.abs(what.byMs) : what.byMs);
        return;
      case "need":
        replica.need = what.need;
        return;
      case "delete":
        this.#leases.remove();
        return;
      case "touch":
        if (this.#leases.lease !== undefined) this.#leases.put(this.#leases.lease);
        return;
      case "refuse":
        this.#leases.refusal = { status: what.status, retryAfterMs: what.retryAfterMs };
        return;
      case "accept":
        this.#leases.refusal = undefined;
        return;
      case "slow":
        Object.assign(this.#delays[slot] ?? {}, { requests: what.requestsMs, answers: what.answersMs });
        return;
    }
  }

  #start(slot: number): Replica {
    const { timings, clocks } = this.#story.pace;
    const replica = new Replica({
      timeline: this.#timeline,
      leases: this.#leases,
      identity: `replica-${slot}-${++this.#started}`,
      delayMs: (to) => this.#random() * (this.#delays[slot] ?? FAST)[to],
      random: this.#random,
      timings,
      ...clocks[slot],
    });
    replica.need = this.#story.needs[slot] ?? "neither";
    replica.elector.start();
    return replica;
  }

  #restart(slot: number, replica: Replica): void {
    if (this.#gone.has(replica)) this.#replicas[slot] = this.#start(slot);
  }

  #check(): void {
    const leaders = new Set([...this.#replicas, ...this.#gone].filter(({ isLeading }) => isLeading));
    if (leaders.size < 2) return;
    const names = [...leaders].map(({ identity }) => identity).join(" and ");
    throw new Error(`${names} lead at ${Math.round(this.#timeline.nowMs)} ms`);
  }
}
