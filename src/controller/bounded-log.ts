import type { Logger } from "./log.ts";
import { LogLimit } from "./log-limit.ts";

/** What one group gets: enough for who looks after a few things at a time. */
const LINES = 60;
const EVERY_MS = 60_000;

export type BoundedLogOptions = {
  readonly log: Logger;
  readonly nowMs: () => number;
  /** What groups are told apart by. */
  readonly group: string;
  /**
   * Told when a group has had its lines. Those held back are counted by its next one, or with this once more when others
   * have lines and it has none.
   */
  readonly full: string;
};

/**
 * Logs what others can cause without end, but only so many lines for each group in a minute. A group is known for that long.
 */
export class BoundedLog {
  readonly #options: BoundedLogOptions;
  /** The one whose minute is over first is first. */
  readonly #limits = new Map<string, LogLimit>();

  constructor(options: BoundedLogOptions) {
    this.#options = options;
  }

  /** How many groups are known. */
  get groups(): number {
    return this.#limits.size;
  }

  write(level: "info" | "warn" | "error", group: string, facts: object, text: string): void {
    const limit = this.#limitOf(group);
    const isFirst = limit.heldBack === 0;
    const told = limit.take();
    if (told !== undefined) this.#options.log[level](told.heldBack === 0 ? facts : { ...facts, ...told }, text);
    else if (isFirst) this.#tellFull(group);
  }

  #limitOf(group: string): LogLimit {
    let limit = this.#limits.get(group);
    for (const [each, old] of this.#limits) {
      if (!old.isOver) break;
      this.#limits.delete(each);
      if (each !== group && old.heldBack > 0) this.#tellFull(each, { heldBack: old.heldBack });
    }
    limit ??= new LogLimit({ everyMs: EVERY_MS, lines: LINES, nowMs: this.#options.nowMs });
    this.#limits.set(group, limit);
    return limit;
  }

  #tellFull(group: string, facts: object = {}): void {
    this.#options.log.warn({ [this.#options.group]: group, ...facts }, this.#options.full);
  }
}

/** For what is to be said of objects, which their authors cause. */
export function objectLog(log: Logger, nowMs: () => number): BoundedLog {
  const full = "more is to be said of objects of this namespace than is logged; their statuses tell it";
  return new BoundedLog({ log, nowMs, group: "namespace", full });
}
