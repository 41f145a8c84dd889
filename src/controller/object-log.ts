import type { Logger } from "./log.ts";
import { LogLimit } from "./log-limit.ts";

/** What one namespace gets: enough for who looks after a few objects at a time. */
const LINES = 60;
const EVERY_MS = 60_000;

/** Told when it is full, and the first line after a while counts what was held back. */
const FULL = "more is to be said of objects of this namespace than is logged; their statuses tell it";

/** Logs what is to be said of objects. Whoever may write them can cause lines without end, but only so many for each namespace. */
export class ObjectLog {
  readonly #log: Logger;
  readonly #nowMs: () => number;
  readonly #limits = new Map<string, LogLimit>();

  constructor(log: Logger, nowMs: () => number) {
    this.#log = log;
    this.#nowMs = nowMs;
  }

  write(level: "info" | "warn", namespace: string, facts: object, text: string): void {
    const limit = this.#limitOf(namespace);
    const isFirst = !limit.isHolding;
    const told = limit.take();
    if (told !== undefined) this.#log[level](told.heldBack === 0 ? facts : { ...facts, ...told }, text);
    else if (isFirst) this.#log.warn({ namespace }, FULL);
  }

  #limitOf(namespace: string): LogLimit {
    const known = this.#limits.get(namespace);
    if (known !== undefined) return known;
    const limit = new LogLimit({ everyMs: EVERY_MS, lines: LINES, nowMs: this.#nowMs });
    this.#limits.set(namespace, limit);
    return limit;
  }
}
