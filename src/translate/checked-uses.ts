import { Groups } from "../api/groups.ts";
import type { ObjectKey } from "../api/object-key.ts";
import { sameValue } from "../api/same-value.ts";
import type { CheckedUse } from "../compile/cluster-budget.ts";
import type { Problem } from "../compile/problems.ts";
import { inDocumentOrder } from "../compile/verdicts.ts";
import { loadAssignmentName } from "../envoy/names.ts";
import type { CheckChange } from "./check-budget.ts";

/** A place, and in how many units it asks for the endpoints of one port to be checked. */
type Place = { readonly use: CheckedUse["use"]; count: number };

/** What is the matter with one of a thousand Services is the matter with all of them. */
const MAX_TOLD = 10;

type Curtailed = { readonly namespace: string; readonly connections: number };

/**
 * Which objects have the endpoints of which ports checked, and so are to be told when some are not. That is not found by a
 * compilation, because that reads no endpoints.
 */
export class CheckedUses {
  /** By the name of a load assignment and by object: one, for nearly all. */
  readonly #places = new Groups<string, ObjectKey, Place[]>();
  readonly #curtailed = new Map<string, Curtailed>();
  /** By object: the names of the load assignments of which it is told. */
  readonly #told = new Groups<ObjectKey, string, true>();
  readonly #changed = new Set<ObjectKey>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  /** A unit has other uses than before. */
  replace(before: readonly CheckedUse[], after: readonly CheckedUse[]): void {
    for (const { port, use } of after) this.#add(loadAssignmentName(port), use);
    for (const { port, use } of before) this.#remove(loadAssignmentName(port), use);
  }

  update({ port, curtailedTo }: CheckChange): void {
    const name = loadAssignmentName(port);
    if (this.#curtailed.get(name)?.connections === curtailedTo) return;
    if (curtailedTo === undefined) this.#curtailed.delete(name);
    else this.#curtailed.set(name, { namespace: port.namespace, connections: curtailedTo });
    for (const object of this.#places.of(name).keys()) {
      if (curtailedTo === undefined) this.#told.delete(object, name);
      else this.#told.set(object, name, true);
      this.#changed.add(object);
    }
  }

  /** The first of them in the order of the document, which count the others. */
  problemsOf(object: ObjectKey): readonly Problem[] {
    const problems = [...this.#told.of(object).keys()].flatMap((name) => {
      const curtailed = this.#curtailed.get(name);
      const places = this.#places.of(name).get(object);
      if (curtailed === undefined || places === undefined) throw new Error(`${object} is told of ${name} for nothing`);
      return places.map(({ use }): Problem => {
        return { ...use, code: "EndpointsNotChecked", ...curtailed, max: this.#max };
      });
    });
    if (problems.length <= MAX_TOLD) return problems;
    const more = problems.length - MAX_TOLD;
    const first = inDocumentOrder(problems).slice(0, MAX_TOLD);
    return first.map((problem, i) => (i === MAX_TOLD - 1 ? { ...problem, more } : problem));
  }

  /** Objects whose answer from {@link problemsOf} may be different since the last call. */
  takeChanged(): readonly ObjectKey[] {
    const changed = [...this.#changed];
    this.#changed.clear();
    return changed;
  }

  #add(name: string, use: CheckedUse["use"]): void {
    const places = this.#places.of(name).get(use.object) ?? [];
    const known = places.find((place) => isSame(place.use, use));
    if (known === undefined) places.push({ use, count: 1 });
    else known.count++;
    this.#places.set(name, use.object, places);
    this.#noteChange(name, use.object);
  }

  #remove(name: string, use: CheckedUse["use"]): void {
    const { object } = use;
    const places = this.#places.of(name).get(object) ?? [];
    const known = places.find((place) => isSame(place.use, use));
    if (known === undefined) throw new Error(`${object} ${use.at} never used ${name}`);
    if (--known.count === 0) places.splice(places.indexOf(known), 1);
    if (places.length === 0) this.#places.delete(name, object);
    this.#noteChange(name, object);
  }

  #noteChange(name: string, object: ObjectKey): void {
    if (!this.#curtailed.has(name)) return;
    if (this.#places.of(name).has(object)) this.#told.set(object, name, true);
    else this.#told.delete(object, name);
    this.#changed.add(object);
  }
}

/** An edit may leave the path of a field and change what is told of it, such as the match of its route. */
function isSame(a: CheckedUse["use"], b: CheckedUse["use"]): boolean {
  return a.at === b.at && sameValue(a.subject, b.subject);
}
