const WAIT_MS = 10_000;

/** What arrives, in order, for whoever asks for the next one. */
export class Inbox<T> {
  readonly #items: (() => T)[] = [];
  readonly #waiting: { readonly take: (item: T) => void; readonly fail: (error: Error) => void }[] = [];
  #end: Error | undefined;

  put(item: T): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) this.#items.push(() => item);
    else waiting.take(item);
  }

  /** Nothing will arrive any more: what is there can still be taken. */
  end(reason: Error): void {
    this.#end ??= reason;
    for (const waiting of this.#waiting.splice(0)) waiting.fail(reason);
  }

  /** Rejects at the end, and when nothing arrives for long. */
  async next(): Promise<T> {
    const arrived = this.#items.shift();
    if (arrived !== undefined) return arrived();
    if (this.#end !== undefined) throw this.#end;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error("nothing arrived")), WAIT_MS);
      this.#waiting.push({
        take: (item) => {
          clearTimeout(timer);
          resolve(item);
        },
        fail: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      });
    });
  }
}
