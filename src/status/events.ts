import { createHash } from "node:crypto";
import { KINDS } from "../api/kinds.ts";
import { namespaceOf, type ObjectKey } from "../api/object-key.ts";
import { backoffMs } from "../kube/backoff.ts";
import type { KubeClient } from "../kube/client.ts";
import { ApiError } from "../kube/errors.ts";
import { resourcePath } from "../kube/resource-path.ts";
import type { TimerClock } from "../kube/timer-clock.ts";
import { FairQueue } from "./fair-queue.ts";
import { TokenBucket } from "./token-bucket.ts";

/** Something to be told of an object beside its status. */
export type ObjectEvent = {
  readonly object: ObjectKey;
  readonly uid: string;
  readonly type: "Normal" | "Warning";
  /** One word in CamelCase. */
  readonly reason: string;
  readonly note: string;
  /** Of two events of an object with the same occasion, the second is not made: not by this replica, nor by another. */
  readonly occasion: string;
};

/** Why an event was not made. */
export type DroppedEvent = { readonly object: ObjectKey; readonly error: unknown };

export type EventWriterOptions = {
  readonly client: Pick<KubeClient, "request">;
  readonly isLeading: () => boolean;
  readonly clock: TimerClock;
  /** From 0 up to 1. */
  readonly random: () => number;
  readonly perSecond: number;
  readonly burst: number;
  /** How many events one object may have, at once and in a second in the long run. */
  readonly objectBurst: number;
  readonly objectPerSecond: number;
  /** How many objects of one namespace may wait; what comes on top is dropped. */
  readonly capacity: number;
  /** Which replica tells it. */
  readonly instance: string;
  readonly onMade: () => void;
  readonly onDropped: (dropped: DroppedEvent) => void;
};

export const EVENT_DEFAULTS: Pick<
  EventWriterOptions,
  "perSecond" | "burst" | "objectBurst" | "objectPerSecond" | "capacity"
> = {
  perSecond: 5,
  burst: 50,
  objectBurst: 10,
  objectPerSecond: 1 / 60,
  capacity: 100,
};

const API_VERSION = "events.k8s.io/v1";
const TIMEOUT_MS = 10_000;
const MAX_ATTEMPTS = 3;

/** The limits of the API server. */
const MAX_NOTE_BYTES = 1024;
const MAX_NAME_LENGTH = 253;

type Waiting = { readonly event: ObjectEvent; readonly atMs: number };

/**
 * Tells of objects by Events. They are a courtesy: one at a time and not too fast, and given up after a few attempts, as the
 * status says the same. Of each object at most one waits, which is the newest; of each namespace not too many. Namespaces
 * have their turns one after the other.
 *
 * Of the two APIs for Events it uses events.k8s.io/v1, not core/v1: there an Event is one moment with a name of its own, which
 * is what is meant here, while the form of core/v1 counts repetitions in an object that has to be read and patched. Both are
 * kept as the same objects, so that `kubectl describe` and `kubectl get events` show them.
 */
export class EventWriter {
  readonly #options: EventWriterOptions;
  readonly #bucket: TokenBucket;
  readonly #due: FairQueue<ObjectKey>;
  /** By namespace. */
  readonly #waiting = new Map<string, Map<ObjectKey, Waiting>>();
  #isLeading = false;
  #running: Promise<void> | undefined;
  #term = new AbortController();
  /** Ends the wait for somebody's turn. */
  #wake: (() => void) | undefined;

  constructor(options: EventWriterOptions) {
    this.#options = options;
    this.#bucket = new TokenBucket(options);
    const { objectBurst: burst, objectPerSecond: perSecond } = options;
    this.#due = new FairQueue<ObjectKey>({ groupOf: namespaceOf, burst, perSecond });
  }

  /** How many events wait to be made. */
  get waiting(): number {
    return this.#due.size;
  }

  /** Returns whether the event will be tried, unless a newer one takes its place. */
  post(event: ObjectEvent): boolean {
    if (!this.#isLeading) return false;
    const { clock, capacity, onDropped } = this.#options;
    const namespace = namespaceOf(event.object);
    const waiting = this.#waiting.get(namespace) ?? new Map<ObjectKey, Waiting>();
    if (waiting.size >= capacity && !waiting.has(event.object)) {
      onDropped({ object: event.object, error: new Error("too many events wait") });
      return false;
    }
    this.#waiting.set(namespace, waiting.set(event.object, { event, atMs: clock.now() }));
    this.#due.add(event.object, clock.monotonicMs());
    this.#wake?.();
    this.#running ??= this.#run(this.#term.signal);
    return true;
  }

  leading(isLeading: boolean): void {
    if (this.#isLeading === isLeading) return;
    this.#isLeading = isLeading;
    for (const waiting of this.#waiting.values()) for (const key of waiting.keys()) this.#due.delete(key);
    this.#waiting.clear();
    this.#running = undefined;
    this.#term.abort();
    this.#term = new AbortController();
  }

  async stop(): Promise<void> {
    const running = this.#running;
    this.leading(false);
    await running;
  }

  async #run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    while (!signal.aborted) {
      const turn = this.#due.next(clock.monotonicMs());
      if (turn.kind === "none") break;
      if (turn.kind === "wait") await this.#pause(turn.ms, signal);
      else await this.#make(this.#take(turn.key), signal);
    }
    if (!signal.aborted) this.#running = undefined;
  }

  #take(key: ObjectKey): Waiting | undefined {
    this.#due.take(key, this.#options.clock.monotonicMs());
    const namespace = namespaceOf(key);
    const waiting = this.#waiting.get(namespace);
    const taken = waiting?.get(key);
    waiting?.delete(key);
    if (waiting?.size === 0) this.#waiting.delete(namespace);
    return taken;
  }

  async #make(taken: Waiting | undefined, signal: AbortSignal): Promise<void> {
    if (taken === undefined) return;
    const { event, atMs } = taken;
    const { client, clock, random, isLeading, instance, onMade, onDropped } = this.#options;
    for (let attempt = 1; ; attempt++) {
      for (let ms = this.#bucket.take(clock.monotonicMs()); ms > 0; ms = this.#bucket.take(clock.monotonicMs())) {
        await pause(ms, clock, signal);
        if (signal.aborted) return;
      }
      if (!isLeading()) return;
      try {
        const body = eventObject(event, atMs, instance);
        const path = resourcePath({ apiVersion: API_VERSION, plural: "events", namespace: namespaceOf(event.object) });
        await client.request({ method: "POST", path, body, timeoutMs: TIMEOUT_MS, signal });
        onMade();
        return;
      } catch (error) {
        if (signal.aborted) return;
        // Made before: by this replica, whose answer was lost, or by the one that led before it.
        if (error instanceof ApiError && error.status === 409) return;
        const isFinal = error instanceof ApiError && error.status < 500 && error.status !== 429;
        if (isFinal || attempt === MAX_ATTEMPTS) {
          onDropped({ object: event.object, error });
          return;
        }
        const retryAfterMs = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
        await pause(backoffMs(attempt + 2, random, retryAfterMs), clock, signal);
        if (signal.aborted) return;
      }
    }
  }

  /** Until that time, or until there is another one that may be ready before. */
  async #pause(ms: number, signal: AbortSignal): Promise<void> {
    const woken = new AbortController();
    const wake = () => woken.abort();
    this.#wake = wake;
    await pause(ms, this.#options.clock, AbortSignal.any([signal, woken.signal]));
    if (this.#wake === wake) this.#wake = undefined;
  }
}

function pause(ms: number, clock: TimerClock, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = () => {
      cancel();
      signal.removeEventListener("abort", end);
      resolve();
    };
    const cancel = clock.after(ms, end);
    signal.addEventListener("abort", end);
  });
}

function eventObject(
  { object, uid, type, reason, note, occasion }: ObjectEvent,
  atMs: number,
  instance: string,
): unknown {
  const [kind = "", namespace = "", name = ""] = object.split("/");
  const apiVersion = KINDS.find((each) => each.kind === kind)?.apiVersions[0] ?? "";
  return {
    apiVersion: API_VERSION,
    kind: "Event",
    metadata: { namespace, name: eventName(name, `${uid} ${occasion}`) },
    eventTime: new Date(atMs).toISOString().replace(/\.(\d+)Z$/, ".$1000Z"),
    reportingController: "isoline",
    reportingInstance: instance.slice(0, 128),
    action: "Translate",
    reason,
    type,
    regarding: { apiVersion, kind, namespace, name, uid },
    note: cutToBytes(note, MAX_NOTE_BYTES),
  };
}

function eventName(object: string, occasion: string): string {
  const id = createHash("sha256").update(occasion).digest("hex").slice(0, 24);
  // What stands before a dot ends in a letter or digit.
  return `${object.slice(0, MAX_NAME_LENGTH - id.length - 1).replace(/[^a-z0-9]+$/, "")}.${id}`;
}

function cutToBytes(text: string, bytes: number): string {
  const encoded = new TextEncoder().encode(text);
  if (encoded.length <= bytes) return text;
  const mark = "…";
  // A character that is cut in the middle is left out.
  const cut = new TextDecoder().decode(encoded.subarray(0, bytes - 3)).replace(/\ufffd+$/, "");
  return `${cut}${mark}`;
}
