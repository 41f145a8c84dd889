import { setTimeout as delay } from "node:timers/promises";

/** Time and chance, as tests may want them otherwise. */
export type Clock = {
  /** Milliseconds that only ever grow; not related to the time of day. */
  readonly nowMs: () => number;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** Rejects when the signal is aborted. */
  readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
};

export const REAL_CLOCK: Clock = {
  nowMs: () => performance.now(),
  random: Math.random,
  sleep: (ms, signal) => delay(ms, undefined, { signal }),
};
