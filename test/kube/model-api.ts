import type { KubeRequest, KubeWatch } from "../../src/kube/client.ts";
import type { Clock } from "../../src/kube/clock.ts";
import { ApiError, ConnectionError } from "../../src/kube/errors.ts";

export type ModelObject = {
  readonly metadata: { readonly namespace: string; readonly name: string; readonly resourceVersion: string };
  readonly spec?: unknown;
};
export type AppliedObject = {
  readonly metadata: { readonly namespace?: string; readonly name: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
};
type Event = { readonly type: string; readonly object: ModelObject };

type Asked = { lists: number; watches: number; readonly queries: Readonly<Record<string, string>>[] };

export type Fault = "cut" | "garbled" | "429" | "500" | "403" | "expired";

/** One kind of an API server: objects with versions, lists in pages, and watches that know some of the past. */
export class ModelApi {
  readonly objects: Map<string, ModelObject> = new Map();
  /** What the next requests meet, one each. */
  readonly faults: Fault[] = [];
  readonly asked: Asked = { lists: 0, watches: 0, queries: [] };
  #version = 10;
  #edits = 0;
  #oldest = 10;
  #history: Event[] = [];
  #snapshots = new Map<number, readonly ModelObject[]>();
  readonly #watches = new Set<Watch>();

  get version(): number {
    return this.#version;
  }

  get openWatches(): number {
    return this.#watches.size;
  }

  set(namespace: string, name: string): void {
    this.apply({ metadata: { namespace, name }, spec: ++this.#edits });
  }

  apply(raw: AppliedObject): void {
    const key = `${raw.metadata.namespace ?? ""}/${raw.metadata.name}`;
    const before = this.objects.get(key);
    const own = { uid: `uid-${this.#version}`, ...before?.metadata, ...raw.metadata };
    const object = { ...raw, metadata: { namespace: "", ...own, resourceVersion: String(++this.#version) } };
    this.objects.set(key, object);
    this.#happened({ type: before === undefined ? "ADDED" : "MODIFIED", object });
  }

  remove(namespace: string, name: string): void {
    const key = `${namespace}/${name}`;
    const object = this.objects.get(key);
    if (object === undefined) return;
    this.objects.delete(key);
    const metadata = { ...object.metadata, resourceVersion: String(++this.#version) };
    this.#happened({ type: "DELETED", object: { metadata } });
  }

  /** From now on whoever comes past this version is told something unreadable. */
  spoil(): void {
    this.#happened({
      type: "NONSENSE",
      object: { metadata: { namespace: "", name: "", resourceVersion: String(++this.#version) } },
    });
  }

  bookmark(): void {
    const object = { metadata: { namespace: "", name: "", resourceVersion: String(this.#version) } };
    for (const watch of this.#watches) watch.put({ type: "BOOKMARK", object });
  }

  /** Forgets the past. Watches that are open know it already. */
  compact(): void {
    this.#version++;
    this.#oldest = this.#version;
    this.#history = [];
    this.#snapshots.clear();
  }

  /**
   * As a backup does: versions begin again and get another meaning. The last one that was told of is above all that there
   * are then: nobody could tell otherwise.
   */
  async setBack(): Promise<void> {
    this.compact();
    this.bookmark();
    await turn();
    this.endWatches(new ConnectionError("cut", "set back"));
    for (const [key, { metadata }] of [...this.objects]) this.objects.set(key, { metadata, spec: ++this.#edits });
    this.#version--;
    this.#oldest = this.#version;
  }

  /** Without an error it is the plain end of a watch; an event is told before. */
  endWatches(how?: Error | Event): void {
    for (const watch of this.#watches) watch.end(how);
    this.#watches.clear();
  }

  /** With more objects than this an answer is too large to be read. */
  mostPerPage: number = Number.POSITIVE_INFINITY;

  async request({ query = {}, signal }: KubeRequest): Promise<unknown> {
    await turn(signal);
    this.#meetFault();
    const token = query.continue;
    if (token === undefined) this.asked.lists++;
    this.asked.queries.push(query);
    const [version = this.#version, offset = 0] = token?.split(":").map(Number) ?? [];
    if (token === undefined) this.#snapshots.set(version, [...this.objects.values()]);
    const snapshot = this.#snapshots.get(version);
    if (snapshot === undefined) throw expired();
    const end = offset + Number(query.limit);
    if (Math.min(end, snapshot.length) - offset > this.mostPerPage) throw new ConnectionError("too large", "too large");
    const rest = end < snapshot.length ? { continue: `${version}:${end}` } : {};
    return { metadata: { resourceVersion: String(version), ...rest }, items: snapshot.slice(offset, end) };
  }

  async watch({ query = {}, signal }: KubeWatch): Promise<AsyncIterable<readonly unknown[]>> {
    await turn(signal);
    this.asked.watches++;
    this.asked.queries.push(query);
    this.#meetFault();
    const from = Number(query.resourceVersion);
    if (from > this.#version) {
      const causes = ["ResourceVersionTooLarge"];
      throw new ApiError({ status: 504, reason: "Timeout", message: "too large", causes, retryAfterMs: undefined });
    }
    // The real one does both, depending on when it notices.
    if (from < this.#oldest && from % 2 === 0) throw expired();
    const watch = new Watch(signal);
    if (from < this.#oldest) {
      watch.end({ type: "ERROR", object: { code: 410, reason: "Expired" } as unknown as ModelObject });
    } else {
      for (const event of this.#history) if (Number(event.object.metadata.resourceVersion) > from) watch.put(event);
      this.#watches.add(watch);
    }
    return watch.batches();
  }

  #meetFault(): void {
    const fault = this.faults.shift();
    switch (fault) {
      case undefined:
        return;
      case "cut":
      case "garbled":
        throw new ConnectionError(fault, fault);
      case "expired":
        throw expired();
      case "403":
      case "429":
      case "500":
        throw new ApiError({ status: Number(fault), reason: "", message: fault, causes: [], retryAfterMs: undefined });
    }
  }

  #happened(event: Event): void {
    this.#history.push(event);
    for (const watch of this.#watches) watch.put(event);
  }
}

/** One open watch. */
class Watch {
  #events: Event[] = [];
  #end: { readonly error: Error | undefined } | undefined;
  #wake: () => void = () => {};

  readonly #signal: AbortSignal | undefined;
  readonly #abort = () => this.end(new Error("aborted"));

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal;
    signal?.addEventListener("abort", this.#abort);
  }

  put(event: Event): void {
    this.#events.push(event);
    this.#wake();
  }

  end(how?: Error | Event): void {
    if (how !== undefined && !(how instanceof Error)) this.put(how);
    this.#end = { error: how instanceof Error ? how : undefined };
    this.#wake();
  }

  async *batches(): AsyncGenerator<readonly unknown[]> {
    try {
      for (;;) {
        const events = this.#events;
        this.#events = [];
        if (events.length > 0) yield events;
        else if (this.#end?.error !== undefined) throw this.#end.error;
        else if (this.#end !== undefined) return;
        else {
          await new Promise<void>((resolve) => {
            this.#wake = resolve;
          });
        }
      }
    } finally {
      this.#signal?.removeEventListener("abort", this.#abort);
    }
  }
}

/** A clock whose sleeps take no time but their own. */
export class QuickClock implements Clock {
  readonly slept: number[] = [];
  #nowMs = 0;
  readonly random = (): number => 0.5;

  nowMs = (): number => this.#nowMs;

  pass(ms: number): void {
    this.#nowMs += ms;
  }

  sleep = async (ms: number, signal: AbortSignal): Promise<void> => {
    this.slept.push(ms);
    await turn(signal);
    this.#nowMs += ms;
  };
}

/** Lets everything happen that can happen at once. */
export async function turn(signal?: AbortSignal): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
  signal?.throwIfAborted();
}

function expired(): ApiError {
  return new ApiError({ status: 410, reason: "Expired", message: "too old", causes: [], retryAfterMs: undefined });
}
