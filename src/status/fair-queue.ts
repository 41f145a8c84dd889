/** Whose turn it is: nobody waits; or the next one may have its turn in so many milliseconds; or now. */
export type Turn<Key> =
  | { readonly kind: "none" }
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "now"; readonly key: Key };

export type FairQueueOptions<Key> = {
  readonly groupOf: (key: Key) => string;
  /** How many turns one key may have at once, and in a second in the long run. */
  readonly burst: number;
  readonly perSecond: number;
};

/** Rests end at whole ticks, of which there are so many between two turns of a key that is never done. */
const TICKS = 10;

/**
 * Keys that wait for their turns, so that neither one key nor one group of them holds up the others. Groups have their turns
 * one after the other, and within a group those that came first. A key that had too many turns rests before it is in the
 * line again, and nothing that waits is lost by it.
 */
export class FairQueue<Key> {
  readonly #options: FairQueueOptions<Key>;
  readonly #intervalMs: number;
  readonly #tickMs: number;
  /** Those that may have a turn. Both groups and keys are in the order of their turns. */
  readonly #line = new Map<string, Set<Key>>();
  /** Those that rest, by the tick at which that ends. */
  readonly #resting = new Map<number, Set<Key>>();
  /** When a key may have all of its burst again, of those that may not, in the order of their last turns. */
  readonly #restoredMs = new Map<Key, number>();

  constructor(options: FairQueueOptions<Key>) {
    this.#options = options;
    this.#intervalMs = 1000 / options.perSecond;
    this.#tickMs = this.#intervalMs / TICKS;
  }

  /** How many wait. */
  get size(): number {
    return [...this.#line.values(), ...this.#resting.values()].reduce((sum, keys) => sum + keys.size, 0);
  }

  /** How many keys' turns are remembered, for proving that they are forgotten. */
  get remembered(): number {
    return this.#restoredMs.size;
  }

  has(key: Key): boolean {
    return this.#line.get(this.#options.groupOf(key))?.has(key) === true || this.#restOf(key) !== undefined;
  }

  /** A key that waits already keeps its place. */
  add(key: Key, nowMs: number): void {
    if (this.has(key)) return;
    const { burst } = this.#options;
    const restMs = (this.#restoredMs.get(key) ?? nowMs) - (burst - 1) * this.#intervalMs;
    if (restMs > nowMs) put(this.#resting, Math.ceil(restMs / this.#tickMs), key);
    else put(this.#line, this.#options.groupOf(key), key);
  }

  delete(key: Key): void {
    drop(this.#line, this.#options.groupOf(key), key);
    const rest = this.#restOf(key);
    if (rest !== undefined) drop(this.#resting, rest, key);
  }

  /** Looks, and does not take. */
  next(nowMs: number): Turn<Key> {
    for (const [tick, keys] of this.#resting) {
      if (tick * this.#tickMs > nowMs) continue;
      this.#resting.delete(tick);
      for (const key of keys) put(this.#line, this.#options.groupOf(key), key);
    }
    for (const keys of this.#line.values()) for (const key of keys) return { kind: "now", key };
    if (this.#resting.size === 0) return { kind: "none" };
    return { kind: "wait", ms: Math.ceil(Math.min(...this.#resting.keys()) * this.#tickMs - nowMs) };
  }

  /** The key has its turn, and waits no more. All others of its group come after all other groups. */
  take(key: Key, nowMs: number): void {
    const group = this.#options.groupOf(key);
    this.delete(key);
    const others = this.#line.get(group);
    if (others !== undefined) {
      this.#line.delete(group);
      this.#line.set(group, others);
    }
    const restoredMs = Math.max(nowMs, this.#restoredMs.get(key) ?? nowMs) + this.#intervalMs;
    this.#restoredMs.delete(key);
    this.#restoredMs.set(key, restoredMs);
    for (const [remembered, ms] of this.#restoredMs) {
      if (ms > nowMs) break;
      this.#restoredMs.delete(remembered);
    }
  }

  #restOf(key: Key): number | undefined {
    for (const [tick, keys] of this.#resting) if (keys.has(key)) return tick;
    return undefined;
  }
}

function put<Group, Key>(groups: Map<Group, Set<Key>>, group: Group, key: Key): void {
  groups.set(group, (groups.get(group) ?? new Set()).add(key));
}

function drop<Group, Key>(groups: Map<Group, Set<Key>>, group: Group, key: Key): void {
  const keys = groups.get(group);
  keys?.delete(key);
  if (keys?.size === 0) groups.delete(group);
}
