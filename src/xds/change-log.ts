/** Below this length compaction is not worth the walk. */
const COMPACT_FROM = 1024;

/**
 * Names of changed resources in order of change. A reader is a position in it. It keeps one entry for each name that
 * some reader has not seen, so its length depends on the number of names, not of changes.
 */
export class ChangeLog {
  #names: string[] = [];
  /** Position of each entry; ascending, with holes after a compaction. */
  #positions: number[] = [];
  #end = 0;
  #compactAt = COMPACT_FROM;

  /** The position behind the last change. */
  get end(): number {
    return this.#end;
  }

  get length(): number {
    return this.#names.length;
  }

  /** `oldestReader` is asked for, now and then, to find the entries that nobody needs any more. */
  append(name: string, oldestReader: () => number): void {
    this.#names.push(name);
    this.#positions.push(this.#end++);
    if (this.#names.length > this.#compactAt) this.#compact(oldestReader());
  }

  /** The names changed at or after `position`; a name can occur more than once. */
  since(position: number): readonly string[] {
    return position >= this.#end ? [] : this.#names.slice(this.#indexOf(position));
  }

  #compact(oldest: number): void {
    const seen = new Set<string>();
    const names: string[] = [];
    const positions: number[] = [];
    for (let index = this.#names.length - 1; index >= 0; index--) {
      const name = this.#names[index];
      const position = this.#positions[index];
      if (name === undefined || position === undefined || position < oldest) break;
      if (seen.has(name)) continue;
      seen.add(name);
      names.push(name);
      positions.push(position);
    }
    this.#names = names.reverse();
    this.#positions = positions.reverse();
    // Twice what is left: the walk is paid for by as many appends.
    this.#compactAt = Math.max(COMPACT_FROM, 2 * this.#names.length);
  }

  /** Index of the first entry at or after `position`. */
  #indexOf(position: number): number {
    let low = 0;
    let high = this.#positions.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#positions[middle] ?? position) < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
