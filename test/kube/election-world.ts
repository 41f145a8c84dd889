import type { KubeRequest } from "../../src/kube/client.ts";
import { ApiError, ConnectionError } from "../../src/kube/errors.ts";
import {
  ELECTION_TIMINGS,
  type ElectionReport,
  type ElectionTimings,
  LeaderElector,
  type Need,
} from "../../src/kube/lease.ts";

export const NAMESPACE = "isoline";
export const NAME = "leader";
const PATH = `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases`;
/** When the simulation begins, by a clock that is right. */
const EPOCH_MS = Date.UTC(2026, 0, 2, 3, 4, 5);

/** More steps than any promise takes to come to something that takes time; a turn of the event loop would take longer. */
const PROMISES = 30;

export type LeaseObject = {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly spec?: Readonly<Record<string, unknown>>;
};

/** A Lease in an API server that says yes and no as the real one does. */
export class ModelLeases {
  lease: LeaseObject | undefined;
  /** What is answered instead, by status. */
  refusal: { readonly status: number; readonly retryAfterMs?: number } | undefined;
  /** All that was sent, as it came in. */
  readonly requests: { readonly method: string; readonly body: unknown }[] = [];
  #version = 100;

  handle({ method, path, body }: KubeRequest): unknown {
    this.requests.push({ method, body });
    if (this.refusal !== undefined) throw refused(this.refusal.status, this.refusal.retryAfterMs);
    if (path !== (method === "POST" ? PATH : `${PATH}/${NAME}`)) throw refused(400);
    const { lease } = this;
    if (method === "POST") {
      if (lease !== undefined) throw refused(409);
      return this.put(body);
    }
    if (lease === undefined) throw refused(404);
    if (method !== "PUT") return structuredClone(lease);
    const { metadata } = asLease(body);
    if (metadata.uid !== lease.metadata.uid || metadata.resourceVersion !== lease.metadata.resourceVersion) {
      throw refused(409);
    }
    return this.put(body);
  }

  /** As anybody else may write, without a precondition. */
  put(body: unknown): LeaseObject {
    const { metadata, spec } = asLease(structuredClone(body));
    const version = String(++this.#version);
    const uid = this.lease?.metadata.uid ?? `uid-${version}`;
    this.lease = {
      metadata: { ...metadata, name: NAME, uid, resourceVersion: version, managedFields: [{ manager: "isoline" }] },
      ...(spec === undefined ? {} : { spec }),
    };
    return structuredClone(this.lease);
  }

  remove(): void {
    this.lease = undefined;
  }
}

function asLease(body: unknown): LeaseObject {
  if (typeof body !== "object" || body === null || !("metadata" in body)) throw new Error("the body is no Lease");
  return body as LeaseObject;
}

function refused(status: number, retryAfterMs?: number): ApiError {
  return new ApiError({ message: `${status} as the test wants it`, status, reason: "", causes: [], retryAfterMs });
}

type Task = { readonly atMs: number; readonly order: number; readonly work: () => void; isCancelled: boolean };

/** True time, which no replica knows, and what is to happen in it. */
export class Timeline {
  nowMs = 0;
  #order = 0;
  #tasks: Task[] = [];

  after(ms: number, work: () => void): () => void {
    const task: Task = { atMs: this.nowMs + Math.max(0, ms), order: this.#order++, work, isCancelled: false };
    this.#tasks.push(task);
    return () => {
      task.isCancelled = true;
    };
  }

  /** Lets time go by; `check` is called whenever something has happened. */
  async pass(ms: number, check: () => void = () => {}): Promise<void> {
    const endMs = this.nowMs + ms;
    for (;;) {
      for (let step = 0; step < PROMISES; step++) await undefined;
      check();
      this.#tasks = this.#tasks.filter(({ isCancelled }) => !isCancelled).sort(earliestFirst);
      const next = this.#tasks[0];
      if (next === undefined || next.atMs > endMs) break;
      this.#tasks.shift();
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.work();
    }
    this.nowMs = endMs;
    check();
  }
}

function earliestFirst(a: Task, b: Task): number {
  return a.atMs - b.atMs || a.order - b.order;
}

export type ReplicaOptions = {
  readonly timeline: Timeline;
  readonly leases: ModelLeases;
  readonly identity: string;
  /** How fast its clocks run. */
  readonly rate?: number;
  /** How wrong its time of day is. */
  readonly skewMs?: number;
  /** How long the next message takes. */
  readonly delayMs?: (to: Direction) => number;
  readonly random?: () => number;
  readonly timings?: ElectionTimings;
};

type Direction = "requests" | "answers";

/** A process with an elector, clocks of its own, and a network that may fail. */
export class Replica {
  readonly elector: LeaderElector;
  need: Need = "neither";
  /** What `onChange` was told. */
  readonly changes: boolean[] = [];
  readonly reports: ElectionReport[] = [];
  readonly identity: string;
  /** No message of it goes in that direction; it arrives afterwards. */
  readonly cut = { requests: false, answers: false };
  /** Requests in its name that the API server has not seen, and answers that it has not. */
  readonly #stuck: { readonly to: Direction; readonly move: () => void }[] = [];
  readonly #options: Required<ReplicaOptions>;
  #isCrashed = false;
  #isAsleep = false;
  /** What happened while it slept. */
  #missed: (() => void)[] = [];
  /** Since when its machine is asleep, and how long it was before. */
  #frozen: { readonly sinceMs: number | undefined; readonly ms: number } = { sinceMs: undefined, ms: 0 };
  #skewMs: number;

  constructor(options: ReplicaOptions) {
    this.#options = { rate: 1, skewMs: 0, delayMs: () => 5, random: () => 0.5, timings: ELECTION_TIMINGS, ...options };
    this.#skewMs = this.#options.skewMs;
    this.identity = options.identity;
    const { timeline } = options;
    this.elector = new LeaderElector({
      client: { request: (request) => this.#request(request) },
      namespace: NAMESPACE,
      name: NAME,
      identity: options.identity,
      clock: {
        now: () => EPOCH_MS + timeline.nowMs * this.#options.rate + this.#skewMs,
        monotonicMs: () => 1e6 + (timeline.nowMs - this.#frozenMs()) * this.#options.rate,
        after: (ms, work) => timeline.after(ms / this.#options.rate, () => this.#happens(work)),
      },
      need: () => this.need,
      random: this.#options.random,
      timings: this.#options.timings,
      onChange: (isLeading) => this.changes.push(isLeading),
      observer: (report) => this.reports.push(report),
    });
  }

  get isLeading(): boolean {
    return !this.#isCrashed && this.elector.isLeading;
  }

  /** Nothing happens in it any more; what it has sent is under way. */
  crash(): void {
    this.#isCrashed = true;
  }

  /** The process stands still, or the machine with its monotonic clock. */
  sleep(what: "process" | "machine"): void {
    this.#isAsleep = true;
    if (what === "machine" && this.#frozen.sinceMs === undefined) {
      this.#frozen = { ...this.#frozen, sinceMs: this.#options.timeline.nowMs };
    }
  }

  wake(): void {
    this.#frozen = { sinceMs: undefined, ms: this.#frozenMs() };
    this.#isAsleep = false;
    const missed = this.#missed;
    this.#missed = [];
    // One by one, so that what the first of them brings about comes before the next.
    for (const work of missed) this.#options.timeline.after(0, () => this.#happens(work));
  }

  /** Somebody sets its time of day. */
  setClock(byMs: number): void {
    this.#skewMs += byMs;
  }

  partition(requests: boolean, answers: boolean): void {
    Object.assign(this.cut, { requests, answers });
    const moving = this.#stuck.filter(({ to }) => !this.cut[to]);
    const staying = this.#stuck.filter(({ to }) => this.cut[to]);
    this.#stuck.splice(0, this.#stuck.length, ...staying);
    for (const { to, move } of moving) this.#options.timeline.after(this.#options.delayMs(to), move);
  }

  #frozenMs(): number {
    const { sinceMs, ms } = this.#frozen;
    return ms + (sinceMs === undefined ? 0 : this.#options.timeline.nowMs - sinceMs);
  }

  /** Something that makes the process do something. */
  #happens(work: () => void): void {
    if (this.#isCrashed) return;
    if (this.#isAsleep) this.#missed.push(work);
    else work();
  }

  #carry(to: Direction, work: () => void): void {
    this.#options.timeline.after(this.#options.delayMs(to), () => {
      if (this.cut[to]) this.#stuck.push({ to, move: work });
      else work();
    });
  }

  #request(request: KubeRequest): Promise<unknown> {
    const { timeline, leases, rate } = this.#options;
    const { signal, timeoutMs = 30_000 } = request;
    const sent = structuredClone(request.body);
    const ended = new AbortController();
    const answer = new Promise((resolve, reject) => {
      const abort = () => reject(signal?.reason);
      if (signal?.aborted) {
        abort();
        return;
      }
      signal?.addEventListener("abort", abort, { once: true, signal: ended.signal });
      const timedOut = () => reject(new ConnectionError("timeout", "no answer came"));
      const cancel = timeline.after(timeoutMs / rate, () => this.#happens(timedOut));
      ended.signal.addEventListener("abort", cancel);
      // What was sent arrives even if nobody waits for the answer any more.
      this.#carry("requests", () => {
        let settle: () => void;
        try {
          const answer = leases.handle({ ...request, body: sent });
          settle = () => resolve(answer);
        } catch (error) {
          settle = () => reject(error);
        }
        this.#carry("answers", () => this.#happens(settle));
      });
    });
    return answer.finally(() => ended.abort());
  }
}
