import type { ObjectKey } from "../../src/api/object-key.ts";
import type { KubeRequest } from "../../src/kube/client.ts";
import { ApiError, ConnectionError } from "../../src/kube/errors.ts";
import type { TimerClock } from "../../src/kube/timer-clock.ts";
import type { Seen } from "../../src/status/writer.ts";

/** Time that passes when told to. */
export class FakeClock implements TimerClock {
  #ms = 0;
  #timers: { readonly atMs: number; readonly work: () => void }[] = [];

  now(): number {
    return Date.UTC(2026, 0, 1) + this.#ms;
  }

  monotonicMs(): number {
    return this.#ms;
  }

  after(ms: number, work: () => void): () => void {
    const timer = { atMs: this.#ms + ms, work };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** How many timers run. */
  get running(): number {
    return this.#timers.length;
  }

  /** Each timer runs at its time, and what it sets off is over before the next one. */
  async advance(ms: number): Promise<void> {
    await turns();
    const endMs = this.#ms + ms;
    for (;;) {
      const [next] = [...this.#timers].sort((a, b) => a.atMs - b.atMs);
      if (next === undefined || next.atMs > endMs) break;
      this.#ms = Math.max(this.#ms, next.atMs);
      this.#timers = this.#timers.filter((timer) => timer !== next);
      next.work();
      await turns();
    }
    this.#ms = endMs;
    await turns();
  }
}

/** Lets everything happen that waits for nothing but its turn. */
export async function turns(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

export type Json = { readonly [key: string]: unknown };

/** What becomes of a request: it is carried out or not, and its sender learns of it or not. */
export type Fate =
  | "done"
  | "done, answer late"
  | "done, answer lost"
  | "lost"
  | "throttled"
  | "broken"
  | "too large"
  | "forbidden"
  | "closed for a day";

type Stored = { readonly uid: string; readonly resourceVersion: number; readonly status: unknown };

type Pending = { readonly request: KubeRequest; readonly finish: (fate: Fate) => void };

/** As much of an API server as a writer of statuses meets: objects with a status, and a watch that lags behind. */
export class FakeApi {
  /** Requests that were sent and not answered, in their order. */
  readonly pending: Pending[] = [];
  readonly requests: KubeRequest[] = [];
  /** Changes of a status by request, by key. */
  readonly changes: Map<ObjectKey, number> = new Map();
  /** Requests that were told of their success, by key. */
  readonly successes: Map<ObjectKey, number> = new Map();
  /** Answers that are on their way: each call delivers one. */
  readonly late: (() => void)[] = [];
  /** Set: requests are answered at once. */
  fate: ((request: KubeRequest) => Fate) | undefined;
  mostPending = 0;
  /** Events, by name. */
  readonly eventsMade: Map<string, Json> = new Map();
  /** What a CustomResourceDefinition makes of a status. */
  admit: (status: unknown) => unknown = (status) => status;
  readonly #objects = new Map<ObjectKey, Stored>();
  readonly #events: { readonly key: ObjectKey; readonly seen: Seen | undefined }[] = [];
  #version = 100;
  #uids = 0;

  readonly client = {
    request: (request: KubeRequest): Promise<unknown> =>
      new Promise((resolve, reject) => {
        this.requests.push(request);
        const abort = () => {
          take();
          reject(request.signal?.reason);
        };
        const take = () => {
          const at = this.pending.indexOf(pending);
          if (at >= 0) this.pending.splice(at, 1);
          request.signal?.removeEventListener("abort", abort);
          return at >= 0;
        };
        const finish = (fate: Fate): void => {
          if (!take()) return;
          try {
            const answer = this.#perform(request, fate);
            if (fate === "done") resolve(answer);
            else if (fate === "done, answer late") this.late.push(() => resolve(answer));
            else reject(new ConnectionError("timeout", "no whole answer came within 10 s"));
          } catch (error) {
            reject(error);
          }
        };
        const pending: Pending = { request, finish };
        request.signal?.addEventListener("abort", abort);
        this.pending.push(pending);
        this.mostPending = Math.max(this.mostPending, this.pending.length);
        const { fate } = this;
        if (fate !== undefined) queueMicrotask(() => finish(fate(request)));
      }),
  };

  /** A new object of this name, in the place of the one before. */
  create(key: ObjectKey, status: unknown = undefined): string {
    const uid = `uid-${++this.#uids}`;
    this.#store(key, { uid, resourceVersion: ++this.#version, status });
    return uid;
  }

  /** Somebody else writes the object. */
  edit(key: ObjectKey, edit: (status: unknown) => unknown = (status) => status): void {
    const stored = this.#objects.get(key);
    if (stored === undefined) return;
    this.#store(key, { ...stored, resourceVersion: ++this.#version, status: edit(stored.status) });
  }

  remove(key: ObjectKey): void {
    if (!this.#objects.delete(key)) return;
    this.#version++;
    this.#events.push({ key, seen: undefined });
  }

  get(key: ObjectKey): Stored | undefined {
    return this.#objects.get(key);
  }

  /** The next events of the watch. */
  events(
    count: number = Number.POSITIVE_INFINITY,
  ): readonly { readonly key: ObjectKey; readonly seen: Seen | undefined }[] {
    return this.#events.splice(0, count);
  }

  #store(key: ObjectKey, stored: Stored): void {
    this.#objects.set(key, stored);
    const { uid, resourceVersion, status } = stored;
    this.#events.push({ key, seen: { uid, resourceVersion: String(resourceVersion), status } });
  }

  #perform({ method, path, body, contentType }: KubeRequest, fate: Fate): unknown {
    switch (fate) {
      case "lost":
        return undefined;
      case "throttled":
        throw refusal(429, "TooManyRequests", 1000);
      case "broken":
        throw refusal(500, "InternalError");
      case "too large":
        throw refusal(500, "", undefined, "etcdserver: request is too large");
      case "forbidden":
        throw refusal(403, "Forbidden");
      case "closed for a day":
        throw refusal(503, "ServiceUnavailable", 86_400_000);
      case "done":
      case "done, answer late":
      case "done, answer lost":
        break;
    }
    if (method === "POST" && path.startsWith("/apis/events.k8s.io/v1/")) {
      const made = record(JSON.parse(JSON.stringify(body)));
      const name = String(record(made.metadata).name);
      if (this.eventsMade.has(name)) throw refusal(409, "AlreadyExists");
      this.eventsMade.set(name, made);
      return made;
    }
    if (method !== "PATCH" || contentType !== "application/merge-patch+json") throw refusal(405, "MethodNotAllowed");
    const [, , , , , namespace = "", plural = "", name = ""] = path.split("/");
    const key = `${plural === "ingresses" ? "Ingress" : "IngressRoute"}/${namespace}/${name}` as ObjectKey;
    const stored = this.#objects.get(key);
    const patch = record(JSON.parse(JSON.stringify(body)));
    if (stored === undefined) throw refusal(404, "NotFound");
    const { uid, resourceVersion } = record(patch.metadata);
    if (resourceVersion !== undefined && resourceVersion !== String(stored.resourceVersion))
      throw refusal(409, "Conflict");
    // The status of a custom resource takes any uid.
    if (plural === "ingresses" && uid !== stored.uid) throw refusal(422, "Invalid");
    const status = this.admit(merge(stored.status, patch.status));
    if (JSON.stringify(status) !== JSON.stringify(stored.status)) {
      this.changes.set(key, (this.changes.get(key) ?? 0) + 1);
      this.#store(key, { ...stored, resourceVersion: ++this.#version, status });
    }
    if (fate === "done" || fate === "done, answer late") this.successes.set(key, (this.successes.get(key) ?? 0) + 1);
    const now = this.#objects.get(key);
    return { metadata: { uid: now?.uid, resourceVersion: String(now?.resourceVersion) }, status: now?.status };
  }
}

export function refusal(status: number, reason: string, retryAfterMs?: number, words: string = reason): ApiError {
  return new ApiError({ message: `${status} ${words}`, status, reason, causes: [], retryAfterMs });
}

/** RFC 7386. */
function merge(target: unknown, patch: unknown): unknown {
  if (!isJson(patch)) return patch;
  const result: Record<string, unknown> = { ...(isJson(target) ? target : {}) };
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) delete result[key];
    else result[key] = merge(result[key], value);
  }
  return result;
}

export function record(value: unknown): Json {
  return isJson(value) ? value : {};
}

function isJson(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
