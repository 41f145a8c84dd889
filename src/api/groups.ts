/**
 * Values by two keys. It is for where most outer keys have one value: for each of those a map of its own would take three
 * times the memory.
 */
export class Groups<Outer, Key, Value> {
  readonly #groups = new Map<Outer, Single<Key, Value> | Map<Key, Value>>();

  set(outer: Outer, key: Key, value: Value): void {
    const group = this.#groups.get(outer);
    if (group instanceof Map) group.set(key, value);
    else if (group === undefined || group.key === key) this.#groups.set(outer, { key, value });
    else this.#groups.set(outer, asMap(group).set(key, value));
  }

  /** Returns whether it was there. */
  delete(outer: Outer, key: Key): boolean {
    const group = this.#groups.get(outer);
    if (!(group instanceof Map)) return group?.key === key && this.#groups.delete(outer);
    const wasThere = group.delete(key);
    // A map has two values at least.
    const [left] = group;
    if (group.size === 1 && left !== undefined) this.#groups.set(outer, { key: left[0], value: left[1] });
    return wasThere;
  }

  /** Forgets all values of an outer key. */
  deleteAll(outer: Outer): void {
    this.#groups.delete(outer);
  }

  /** Those of an outer key; empty if there are none. It is only good until the next change. */
  of(outer: Outer): ReadonlyMap<Key, Value> {
    const group = this.#groups.get(outer);
    if (group === undefined) return new Map();
    return group instanceof Map ? group : asMap(group);
  }
}

type Single<Key, Value> = { readonly key: Key; readonly value: Value };

function asMap<Key, Value>({ key, value }: Single<Key, Value>): Map<Key, Value> {
  return new Map([[key, value]]);
}
