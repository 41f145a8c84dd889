/** For lines that strangers can cause as often as they like: some at once, and then some in a while, which count the others. */
export class LogLimit {
  readonly #everyMs: number;
  readonly #lines: number;
  readonly #nowMs: () => number;
  #endMs = Number.NEGATIVE_INFINITY;
  #left = 0;
  #heldBack = 0;

  /** `lines` is how many there are in a while, one unless told otherwise. */
  constructor(options: { readonly everyMs: number; readonly lines?: number; readonly nowMs: () => number }) {
    this.#everyMs = options.everyMs;
    this.#lines = options.lines ?? 1;
    this.#nowMs = options.nowMs;
  }

  /** How many lines have been held back since the last that was told. */
  get heldBack(): number {
    return this.#heldBack;
  }

  /** Whether the while has passed that began with the first line of it. */
  get isOver(): boolean {
    return this.#nowMs() >= this.#endMs;
  }

  /** How many were held back since the last that was told; undefined if this one is held back, too. */
  take(): { readonly heldBack: number } | undefined {
    if (this.isOver) {
      this.#endMs = this.#nowMs() + this.#everyMs;
      this.#left = this.#lines;
    }
    if (this.#left === 0) {
      this.#heldBack++;
      return undefined;
    }
    this.#left--;
    const heldBack = this.#heldBack;
    this.#heldBack = 0;
    return { heldBack };
  }
}
