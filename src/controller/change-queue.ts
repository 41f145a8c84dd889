import type { ObjectChange } from "../api/kinds.ts";
import { namespaceOf, type ObjectKey } from "../api/object-key.ts";

/** From so long on, changes cost others something. */
const LONG_MS = 100;
/** So many times as long as its changes took, a lane then rests: others have two thirds of the time at least. */
const REST = 2;
/** For so long after changes that took long, each lane's are applied by themselves, so as to see whose they are. */
const WARY_MS = 10_000;

/** Of one namespace: its endpoints, or everything else. An old endpoint is a failed request, so they wait for nothing else. */
export type Lane = string;

/**
 * Changes that wait to be applied: all of them at once, as long as that is quick. When it is not, the namespaces have turns,
 * and one whose changes take long waits before its next. So whoever edits a Service of whom a hundred thousand routes of his
 * own speak, twice a second, holds up himself.
 */
export class ChangeQueue {
  /** In the order in which they began to wait; of an object only the last change. */
  readonly #waiting = new Map<Lane, Map<ObjectKey, ObjectChange>>();
  /** Until when a lane rests. */
  readonly #resting = new Map<Lane, number>();
  #waryUntil = Number.NEGATIVE_INFINITY;

  push(changes: Iterable<ObjectChange>): void {
    for (const change of changes) {
      const lane = laneOf(change.key);
      const waiting = this.#waiting.get(lane) ?? new Map<ObjectKey, ObjectChange>();
      // What came later stays behind what came before: a Service that was there when its route was written.
      waiting.delete(change.key);
      this.#waiting.set(lane, waiting.set(change.key, change));
    }
  }

  /** What is to be applied next, of lanes of which nothing is being applied; undefined: nothing, for now. */
  take(nowMs: number, isBusy: (lane: Lane) => boolean): readonly ObjectChange[] | undefined {
    const taken: ObjectChange[] = [];
    for (const [lane, changes] of this.#waiting) {
      if (isBusy(lane) || this.#restsUntil(lane, nowMs) > nowMs) continue;
      this.#resting.delete(lane);
      this.#waiting.delete(lane);
      for (const change of changes.values()) taken.push(change);
      if (nowMs < this.#waryUntil) break;
    }
    return taken.length === 0 ? undefined : taken;
  }

  /** What {@link take} returned has been applied. `tookMs` is what others had to wait for, here and in an Envoy. */
  applied(changes: readonly ObjectChange[], tookMs: number, nowMs: number): void {
    if (tookMs < LONG_MS) return;
    this.#waryUntil = nowMs + WARY_MS;
    const [lane, ...others] = lanesOf(changes);
    // Of several, nobody knows yet whose they were.
    if (lane !== undefined && others.length === 0) this.#resting.set(lane, nowMs + REST * tookMs);
  }

  /** When {@link take} has something, if nothing else comes and nothing ends: milliseconds from now; undefined: never. */
  dueInMs(nowMs: number, isBusy: (lane: Lane) => boolean): number | undefined {
    let due: number | undefined;
    for (const lane of this.#waiting.keys()) {
      if (isBusy(lane)) continue;
      const until = this.#restsUntil(lane, nowMs);
      due = Math.min(due ?? until, until);
    }
    return due === undefined ? undefined : Math.max(0, due - nowMs);
  }

  #restsUntil(lane: Lane, nowMs: number): number {
    return this.#resting.get(lane) ?? nowMs;
  }
}

export function lanesOf(changes: readonly ObjectChange[]): ReadonlySet<Lane> {
  return new Set(changes.map(({ key }) => laneOf(key)));
}

function laneOf(key: ObjectKey): Lane {
  return `${key.startsWith("EndpointSlice/") ? "endpoints of" : "all else of"} ${namespaceOf(key)}`;
}
