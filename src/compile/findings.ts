import type { ObjectKey } from "../api/object-key.ts";
import { MAX_QUOTED, type Problem } from "./problems.ts";

/** The objects that a compilation reached, each with what is the matter with it: nothing, for most. */
export class Findings {
  readonly #byObject = new Map<ObjectKey, Map<string, Problem>>();

  reach(object: ObjectKey): void {
    if (!this.#byObject.has(object)) this.#byObject.set(object, NONE);
  }

  /** The same problem found twice, below two parents say, counts once. */
  report(problem: Problem): void {
    const found = this.#byObject.get(problem.object) ?? NONE;
    if (found === NONE) this.#byObject.set(problem.object, new Map([[problemId(problem), problem]]));
    else found.set(problemId(problem), problem);
  }

  /** By object: the problems, by {@link problemId}. */
  byObject(): ReadonlyMap<ObjectKey, ReadonlyMap<string, Problem>> {
    return this.#byObject;
  }
}

/** Of the many objects with which nothing is the matter. */
const NONE = new Map<string, Problem>();

/**
 * Equal for problems that say the same of the same field. It holds no more of a text than a sentence quotes: each of many
 * small things that refer to one large text can have a problem, below each host.
 */
export function problemId(problem: Problem): string {
  return JSON.stringify(problem, (_field, value: unknown) =>
    typeof value === "string" && value.length > MAX_QUOTED ? [value.slice(0, MAX_QUOTED), value.length] : value,
  );
}
