import type { ObjectKey } from "../../api/object-key.ts";

/** How many steps of a cycle are told: its two ends, if it is longer. */
const MAX_STEPS = 16;

/** The objects from a root down to where the walk is. */
export class Chain {
  readonly #keys: ObjectKey[] = [];
  readonly #positions = new Map<ObjectKey, number>();

  push(key: ObjectKey): void {
    this.#positions.set(key, this.#keys.length);
    this.#keys.push(key);
  }

  pop(): void {
    const key = this.#keys.pop();
    if (key !== undefined) this.#positions.delete(key);
  }

  has(key: ObjectKey): boolean {
    return this.#positions.has(key);
  }

  /** The way from `target` along the chain to the object that leads back to it; as long as what is told of it. */
  cycleThrough(
    target: ObjectKey,
    closing: ObjectKey,
  ): { readonly path: readonly ObjectKey[]; readonly omitted: number } {
    if (target === closing) return { path: [closing, target], omitted: 0 };
    const from = this.#positions.get(target) ?? 0;
    const length = this.#keys.length - from + 2;
    const omitted = Math.max(0, length - MAX_STEPS);
    if (omitted === 0) return { path: [...this.#keys.slice(from), closing, target], omitted };
    const half = MAX_STEPS / 2;
    const end = this.#keys.slice(this.#keys.length - (half - 2));
    return { path: [...this.#keys.slice(from, from + half), ...end, closing, target], omitted };
  }
}
