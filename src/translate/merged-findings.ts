import { Groups } from "../api/groups.ts";
import type { ObjectKey } from "../api/object-key.ts";
import type { Problem } from "../compile/problems.ts";
import type { Unit } from "../store/view.ts";

type UnitFindings = ReadonlyMap<ObjectKey, ReadonlyMap<string, Problem>>;

type Entry = {
  /** How many units reached the object. */
  reached: number;
  /** Undefined: none. */
  problems: Map<string, { readonly problem: Problem; count: number }> | undefined;
};

/**
 * What all units together found of each object. Kept by counting, so that one host's change costs one host's work even where
 * ten thousand hosts share a delegate.
 */
export class MergedFindings {
  readonly #byUnit = new Groups<Unit, ObjectKey, ReadonlyMap<string, Problem>>();
  readonly #byObject = new Map<ObjectKey, Entry>();
  readonly #changed = new Set<ObjectKey>();

  replace(unit: Unit, findings: UnitFindings): void {
    const before = this.#byUnit.of(unit);
    for (const [object, problems] of findings) this.#add(object, problems);
    for (const [object, problems] of before) this.#remove(object, problems);
    this.#byUnit.deleteAll(unit);
    for (const [object, problems] of findings) this.#byUnit.set(unit, object, problems);
  }

  /** The problems of an object, or undefined when no unit reached it. */
  of(object: ObjectKey): Problem[] | undefined {
    const entry = this.#byObject.get(object);
    return entry && [...(entry.problems?.values() ?? [])].map(({ problem }) => problem);
  }

  /** Objects whose answer from {@link of} may be different since the last call. */
  takeChanged(): readonly ObjectKey[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }

  #add(object: ObjectKey, problems: ReadonlyMap<string, Problem>): void {
    const entry = this.#byObject.get(object) ?? { reached: 0, problems: undefined };
    if (entry.reached++ === 0) {
      this.#changed.add(object);
      this.#byObject.set(object, entry);
    }
    for (const [id, problem] of problems) {
      entry.problems ??= new Map();
      const counted = entry.problems.get(id);
      if (counted !== undefined) counted.count++;
      else {
        entry.problems.set(id, { problem, count: 1 });
        this.#changed.add(object);
      }
    }
  }

  #remove(object: ObjectKey, problems: ReadonlyMap<string, Problem>): void {
    const entry = this.#byObject.get(object);
    if (entry === undefined) throw new Error(`${object} was never reached`);
    for (const id of problems.keys()) {
      const counted = entry.problems?.get(id);
      if (counted !== undefined && --counted.count === 0) {
        entry.problems?.delete(id);
        this.#changed.add(object);
      }
    }
    if (--entry.reached === 0) {
      this.#byObject.delete(object);
      this.#changed.add(object);
    }
  }
}
