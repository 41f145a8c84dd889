import type { ObjectKey } from "../api/object-key.ts";
import { sameValue } from "../api/same-value.ts";

/** What is said of objects, and which of it was not said before. */
export class Statements<Statement> {
  readonly #all = new Map<ObjectKey, Statement>();
  /** What was said when {@link takeChanges} was last called, of objects of which something else has been said since. */
  readonly #before = new Map<ObjectKey, Statement | undefined>();

  get all(): ReadonlyMap<ObjectKey, Statement> {
    return this.#all;
  }

  /** Undefined: nothing is to be said. */
  set(object: ObjectKey, statement: Statement | undefined): void {
    const before = this.#all.get(object);
    if (sameValue(before, statement)) return;
    if (!this.#before.has(object)) this.#before.set(object, before);
    if (statement === undefined) this.#all.delete(object);
    else this.#all.set(object, statement);
  }

  takeChanges(): ReadonlyMap<ObjectKey, Statement | undefined> {
    const changes = new Map<ObjectKey, Statement | undefined>();
    for (const [object, before] of this.#before) {
      const now = this.#all.get(object);
      if (!sameValue(before, now)) changes.set(object, now);
    }
    this.#before.clear();
    return changes;
  }
}
