import { namespaceOf, type ObjectKey } from "../api/object-key.ts";
import { backoffMs } from "../kube/backoff.ts";
import type { TimerClock } from "../kube/timer-clock.ts";
import { FairQueue } from "./fair-queue.ts";
import { TokenBucket } from "./token-bucket.ts";

export type WriteTurnsOptions = {
  /** Asked before every request: a lease can end before anybody was told. */
  readonly isLeading: () => boolean;
  readonly clock: TimerClock;
  /** From 0 up to 1. */
  readonly random: () => number;
  readonly perSecond: number;
  readonly burst: number;
  /** How often one object may be written, at once and in a second in the long run. */
  readonly objectBurst: number;
  readonly objectPerSecond: number;
  readonly concurrency: number;
};

/** When to ask again whether a lease that looked lost has been renewed after all. */
const LEASE_LOOK_MS = 500;

/** However long the API server wants to be left alone: whoever stands before it may ask for a day. */
const MAX_PAUSE_MS = 30_000;

/**
 * When which object is written: a few at a time and in turns, no object too often, not too many in all, and none for a while
 * when the API server is not well. What is written is not known here.
 */
export class WriteTurns {
  readonly #options: WriteTurnsOptions;
  readonly #writeOf: (key: ObjectKey) => (() => Promise<void>) | undefined;
  readonly #bucket: TokenBucket;
  readonly #queue: FairQueue<ObjectKey>;
  readonly #writing = new Set<Promise<void>>();
  #notBeforeMs = 0;
  /** How many requests failed since the last one that did not. */
  #failures = 0;
  #cancelTimer: (() => void) | undefined;

  /** `writeOf` gives the write for an object that waits, which never rejects; or undefined, and then the object waits no more. */
  constructor(options: WriteTurnsOptions, writeOf: (key: ObjectKey) => (() => Promise<void>) | undefined) {
    this.#options = options;
    this.#writeOf = writeOf;
    this.#bucket = new TokenBucket(options);
    const { objectBurst: burst, objectPerSecond: perSecond } = options;
    this.#queue = new FairQueue<ObjectKey>({ groupOf: namespaceOf, burst, perSecond });
  }

  add(key: ObjectKey): void {
    this.#queue.add(key, this.#options.clock.monotonicMs());
    this.#start();
  }

  delete(key: ObjectKey): void {
    this.#queue.delete(key);
  }

  /** The API server is well. */
  succeeded(): void {
    this.#failures = 0;
  }

  /** What the API server asks of one request it means for all; and if it is down, all need not find that out by themselves. */
  failed(retryAfterMs: number): void {
    const { clock, concurrency, random } = this.#options;
    const beyond = ++this.#failures - concurrency;
    const pauseMs = beyond > 0 ? backoffMs(beyond, random, retryAfterMs) : retryAfterMs;
    this.#notBeforeMs = Math.max(this.#notBeforeMs, clock.monotonicMs() + Math.min(pauseMs, MAX_PAUSE_MS));
  }

  /** Forgets what has failed, and starts nothing until an object is added. */
  reset(): void {
    this.#notBeforeMs = 0;
    this.#failures = 0;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  /** Resolves when no write is on its way any more. */
  async idle(): Promise<void> {
    await Promise.all(this.#writing);
  }

  #start(): void {
    const { clock, concurrency, isLeading } = this.#options;
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    while (this.#writing.size < concurrency) {
      const now = clock.monotonicMs();
      const turn = this.#queue.next(now);
      if (turn.kind === "none") return;
      if (turn.kind === "wait") {
        this.#startIn(turn.ms);
        return;
      }
      const write = this.#writeOf(turn.key);
      if (write === undefined) continue;
      const pauseMs = isLeading() ? this.#notBeforeMs - now : LEASE_LOOK_MS;
      const waitMs = pauseMs > 0 ? pauseMs : this.#bucket.take(now);
      if (waitMs > 0) {
        this.#startIn(waitMs);
        return;
      }
      this.#queue.take(turn.key, now);
      const writing = write().finally(() => {
        this.#writing.delete(writing);
        this.#start();
      });
      this.#writing.add(writing);
    }
  }

  #startIn(ms: number): void {
    this.#cancelTimer = this.#options.clock.after(ms, () => this.#start());
  }
}
