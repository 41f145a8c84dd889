import type { ObjectChange } from "../api/kinds.ts";
import { namespaceOf, type ObjectKey } from "../api/object-key.ts";

/** From so long on, changes cost others something. */
const LONG_MS = 100;
/** So many times as long as its changes took, a namespace then rests: others have two thirds of the time at least. */
const REST = 2;
/** For so long after changes that took long, each namespace's are applied by themselves, so as to see whose they are. */
const WARY_MS = 10_000;

/**
 * Changes that wait to be applied: all of them at once, as long as that is quick. When it is not, the namespaces have turns,
 * and one whose changes take long waits before its next. So whoever edits a Service of whom a hundred thousand routes of his
 * own speak, twice a second, holds up himself.
 *
 * Endpoints never rest: they cost little, and an old one is a failed request.
 */
export class ChangeQueue {
  /** By namespace, in the order in which they began to wait; of an object only the last change. */
  readonly #waiting = new Map<string, Map<ObjectKey, ObjectChange>>();
  /** By namespace: until when it rests. */
  readonly #resting = new Map<string, number>();
  #waryUntil = Number.NEGATIVE_INFINITY;

  push(changes: Iterable<ObjectChange>): void {
    for (const change of changes) {
      const namespace = namespaceOf(change.key);
      const waiting = this.#waiting.get(namespace) ?? new Map<ObjectKey, ObjectChange>();
      // What came later stays behind what came before: a Service that was there when its route was written.
      waiting.delete(change.key);
      this.#waiting.set(namespace, waiting.set(change.key, change));
    }
  }

  /** What is to be applied next; undefined: nothing, for now. */
  take(nowMs: number): readonly ObjectChange[] | undefined {
    const taken: ObjectChange[] = [];
    for (const [namespace, changes] of this.#waiting) {
      const rests = (this.#resting.get(namespace) ?? nowMs) > nowMs;
      if (!rests) this.#resting.delete(namespace);
      for (const [key, change] of changes) {
        if (rests && !isEndpoints(key)) continue;
        taken.push(change);
        changes.delete(key);
      }
      if (changes.size === 0) this.#waiting.delete(namespace);
      if (taken.length === 0 || nowMs >= this.#waryUntil) continue;
      // What it has left waits behind the others.
      if (this.#waiting.delete(namespace)) this.#waiting.set(namespace, changes);
      break;
    }
    return taken.length === 0 ? undefined : taken;
  }

  /** What {@link take} returned has been applied. */
  applied(changes: readonly ObjectChange[], tookMs: number, nowMs: number): void {
    if (tookMs < LONG_MS) return;
    this.#waryUntil = nowMs + WARY_MS;
    const [namespace, ...others] = new Set(changes.map(({ key }) => namespaceOf(key)));
    // Of several, nobody knows yet whose they were.
    if (namespace !== undefined && others.length === 0) this.#resting.set(namespace, nowMs + REST * tookMs);
  }

  /** When {@link take} has something, if nothing else comes: milliseconds from now; undefined: never. */
  dueInMs(nowMs: number): number | undefined {
    let due: number | undefined;
    for (const namespace of this.#waiting.keys()) {
      const until = this.#resting.get(namespace) ?? nowMs;
      due = Math.min(due ?? until, until);
    }
    return due === undefined ? undefined : Math.max(0, due - nowMs);
  }
}

function isEndpoints(key: ObjectKey): boolean {
  return key.startsWith("EndpointSlice/");
}
