/** For lines that strangers can cause as often as they like: one at once, and then one in a while that counts the others. */
export class LogLimit {
  readonly #everyMs: number;
  readonly #nowMs: () => number;
  #nextMs = Number.NEGATIVE_INFINITY;
  #heldBack = 0;

  constructor(options: { readonly everyMs: number; readonly nowMs: () => number }) {
    this.#everyMs = options.everyMs;
    this.#nowMs = options.nowMs;
  }

  /** How many were held back since the last that was told; undefined if this one is held back, too. */
  take(): { readonly heldBack: number } | undefined {
    const nowMs = this.#nowMs();
    if (nowMs < this.#nextMs) {
      this.#heldBack++;
      return undefined;
    }
    const heldBack = this.#heldBack;
    this.#heldBack = 0;
    this.#nextMs = nowMs + this.#everyMs;
    return { heldBack };
  }
}
