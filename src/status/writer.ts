import { KINDS } from "../api/kinds.ts";
import { namespaceOf, type ObjectKey } from "../api/object-key.ts";
import { sameValue } from "../api/same-value.ts";
import { backoffMs } from "../kube/backoff.ts";
import type { KubeClient } from "../kube/client.ts";
import { ApiError } from "../kube/errors.ts";
import { resourcePath } from "../kube/resource-path.ts";
import type { TimerClock } from "../kube/timer-clock.ts";
import { FairQueue } from "./fair-queue.ts";
import {
  type Decision,
  decideIngressRoute,
  type HoldOptions,
  readIngressRouteStatus,
  type SeenIngressRouteStatus,
} from "./ingress-route-status.ts";
import { decideIngress, readAddresses } from "./ingress-status.ts";
import { isRecord } from "./read.ts";
import { TokenBucket } from "./token-bucket.ts";
import { type Address, fitting, type IngressRouteWish, type Wish } from "./wish.ts";

/** An object as the API server holds it, as far as its status is concerned. */
export type Seen = { readonly uid: string; readonly resourceVersion: string; readonly status: unknown };

/** What is owed, for metrics. */
export type Waiting = { readonly count: number; readonly oldestMs: number };

/** What became of an attempt to write, for logs and metrics. */
export type WriteReport =
  | {
      readonly kind: "written";
      readonly key: ObjectKey;
      readonly uid: string;
      /** The version of the object that came of it. */
      readonly resourceVersion: string;
      readonly wish: Wish;
      /** The `currentStatus` of an IngressRoute that was there before, whatever others have written over it. */
      readonly before: string | undefined;
    }
  | { readonly kind: "retried"; readonly key: ObjectKey; readonly error: unknown; readonly inMs: number }
  /** The object is gone, has changed or is another: it is left until there is news of it. */
  | { readonly kind: "dropped"; readonly key: ObjectKey; readonly error: ApiError }
  /** It was refused together with the conditions of others, and will be tried without them. */
  | { readonly kind: "reduced"; readonly key: ObjectKey; readonly error: ApiError }
  /** The API server does not store such a status, or none with this object. */
  | {
      readonly kind: "refused";
      readonly key: ObjectKey;
      readonly uid: string;
      readonly wish: Wish;
      readonly error: ApiError;
    }
  /** The API server has made something else of it, a CustomResourceDefinition without these fields for one. */
  | { readonly kind: "altered"; readonly key: ObjectKey };

export type StatusWriterOptions = HoldOptions & {
  readonly client: Pick<KubeClient, "request">;
  /** Asked before every request: a lease can end before anybody was told. */
  readonly isLeading: () => boolean;
  readonly clock: TimerClock;
  /** From 0 up to 1. */
  readonly random: () => number;
  readonly perSecond: number;
  readonly burst: number;
  /** How often one object may be written, at once and in a second in the long run. */
  readonly objectBurst: number;
  readonly objectPerSecond: number;
  readonly concurrency: number;
  readonly onReport: (report: WriteReport) => void;
};

export const WRITER_DEFAULTS = {
  holdMs: 1000,
  laggardMs: 10_000,
  perSecond: 100,
  burst: 1000,
  objectBurst: 5,
  objectPerSecond: 1,
  concurrency: 8,
} as const;

const TIMEOUT_MS = 10_000;
/** When to ask again whether a lease that looked lost has been renewed after all. */
const LEASE_LOOK_MS = 500;

type SeenStatus =
  | { readonly kind: "IngressRoute"; readonly status: SeenIngressRouteStatus }
  | { readonly kind: "Ingress"; readonly addresses: readonly Address[] | undefined };

type SeenObject = { readonly uid: string; readonly resourceVersion: string; readonly found: SeenStatus };

/** One attempt: to make this of that. */
type Attempt = { readonly wish: Wish; readonly seen: SeenObject; readonly status: unknown };

type Entry = {
  wish: Wish | undefined;
  seen: SeenObject | undefined;
  /** Since when the wish waits for Envoys, on the monotonic clock. */
  unsettledMs: number | undefined;
  /** Since when there is something to be written, on the monotonic clock. */
  owedMs: number | undefined;
  /** The `currentStatus` that this replica has written, or has found when it began to lead: what others write is no turn. */
  said: string | undefined;
  /** Conditions of others are left out, because the status was refused with them. */
  isAlone: boolean;
  isWriting: boolean;
  attempts: number;
  /** A timer runs until the next attempt, or the next look. */
  timer: { readonly why: "retry" | "wait"; readonly cancel: () => void } | undefined;
  /** Writing this for that version of the object leads nowhere. */
  futile: { readonly wish: Wish; readonly resourceVersion: string } | undefined;
};

/**
 * Writes what the status of objects should be where it is something else, while this replica leads. One write for each
 * difference: what was written counts as seen, and what comes from the watch counts if it is newer.
 */
export class StatusWriter {
  readonly #options: StatusWriterOptions;
  readonly #bucket: TokenBucket;
  readonly #entries = new Map<ObjectKey, Entry>();
  /** Keys that have something to be written. */
  readonly #due: FairQueue<ObjectKey>;
  #isLeading = false;
  #isStopped = false;
  #writing = new Set<Promise<void>>();
  /** Ends the requests of a term of leadership. */
  #term = new AbortController();
  #notBeforeMs = 0;
  /** How many requests failed since the last one that did not. */
  #failures = 0;
  #pumpTimer: (() => void) | undefined;

  constructor(options: StatusWriterOptions) {
    this.#options = options;
    this.#bucket = new TokenBucket(options);
    const { objectBurst: burst, objectPerSecond: perSecond } = options;
    this.#due = new FairQueue<ObjectKey>({ groupOf: namespaceOf, burst, perSecond });
  }

  /** How many statuses wait to be written, and for how long the one that waits longest. */
  waiting(): Waiting {
    const now = this.#options.clock.monotonicMs();
    let count = 0;
    let oldestMs = 0;
    for (const { owedMs } of this.#entries.values()) {
      if (owedMs === undefined) continue;
      count++;
      oldestMs = Math.max(oldestMs, now - owedMs);
    }
    return { count, oldestMs };
  }

  /** What the watch says; undefined: the object is gone. */
  observe(key: ObjectKey, seen: Seen | undefined): void {
    if (seen === undefined) {
      const entry = this.#entries.get(key);
      if (entry === undefined) return;
      entry.seen = undefined;
      entry.said = undefined;
      entry.isAlone = false;
      this.#rest(key, entry);
      this.#forgetIfEmpty(key, entry);
      return;
    }
    const entry = this.#entry(key);
    if (entry.seen?.uid === seen.uid && isOlder(seen.resourceVersion, entry.seen.resourceVersion)) return;
    if (entry.seen !== undefined && entry.seen.uid !== seen.uid) {
      entry.said = undefined;
      this.#startAnew(entry);
    }
    entry.seen = { uid: seen.uid, resourceVersion: seen.resourceVersion, found: readStatus(key, seen.status) };
    this.#consider(key, entry);
  }

  /** What the status should be; undefined: whatever it is. */
  wish(key: ObjectKey, wished: Wish | undefined): void {
    const entry = this.#entry(key);
    const wish = wished && fitting(wished);
    if (wish === undefined) {
      entry.wish = undefined;
      entry.unsettledMs = undefined;
      this.#rest(key, entry);
      this.#forgetIfEmpty(key, entry);
      return;
    }
    if (!sameValue(entry.wish, wish)) {
      if (generationOf(entry.wish) !== generationOf(wish)) this.#startAnew(entry);
      if (!this.#isHeld(entry) && saysMore(entry.wish, wish)) entry.unsettledMs = undefined;
      entry.wish = wish;
    }
    this.#consider(key, entry);
  }

  leading(isLeading: boolean): void {
    if (this.#isLeading === isLeading || this.#isStopped) return;
    this.#isLeading = isLeading;
    this.#term.abort();
    this.#term = new AbortController();
    this.#notBeforeMs = 0;
    this.#failures = 0;
    this.#cancelPump();
    for (const [key, entry] of this.#entries) {
      this.#rest(key, entry);
      entry.futile = undefined;
      entry.said = undefined;
      if (!isLeading) continue;
      entry.unsettledMs = undefined;
      this.#consider(key, entry);
    }
  }

  /** Resolves when no request is on its way any more. */
  async stop(): Promise<void> {
    this.leading(false);
    this.#isStopped = true;
    await Promise.all(this.#writing);
  }

  #entry(key: ObjectKey): Entry {
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = {
        wish: undefined,
        seen: undefined,
        unsettledMs: undefined,
        owedMs: undefined,
        said: undefined,
        isAlone: false,
        isWriting: false,
        attempts: 0,
        timer: undefined,
        futile: undefined,
      };
      this.#entries.set(key, entry);
    }
    return entry;
  }

  /** Whether its first second without the answers of Envoys is not over yet. */
  #isHeld({ unsettledMs }: Entry): boolean {
    return unsettledMs !== undefined && this.#options.clock.monotonicMs() - unsettledMs < this.#options.holdMs;
  }

  /** Nothing is to be done for it until it is considered again. */
  #rest(key: ObjectKey, entry: Entry): void {
    this.#due.delete(key);
    entry.timer?.cancel();
    entry.timer = undefined;
    entry.attempts = 0;
    entry.owedMs = undefined;
  }

  /** What failed was for what the author has changed since: that waits for no back-off. */
  #startAnew(entry: Entry): void {
    entry.isAlone = false;
    entry.attempts = 0;
    if (entry.timer?.why !== "retry") return;
    entry.timer.cancel();
    entry.timer = undefined;
  }

  #forgetIfEmpty(key: ObjectKey, { wish, seen, isWriting }: Entry): void {
    if (wish === undefined && seen === undefined && !isWriting) this.#entries.delete(key);
  }

  /** Puts the object where it belongs: among those that are due, behind a timer, or nowhere. */
  #consider(key: ObjectKey, entry: Entry): void {
    if (!this.#isLeading) return;
    if (entry.seen?.found.kind === "IngressRoute") entry.said ??= entry.seen.found.status.currentStatus || "valid";
    // After an answer, and after a back-off, it is considered anyway.
    if (entry.isWriting || entry.timer?.why === "retry") return;
    entry.timer?.cancel();
    entry.timer = undefined;
    if (!isUnsettled(entry.wish)) entry.unsettledMs = undefined;
    else entry.unsettledMs ??= this.#options.clock.monotonicMs();
    const decision = this.#decide(entry);
    switch (decision.kind) {
      case "same":
        this.#rest(key, entry);
        entry.unsettledMs = undefined;
        return;
      case "wait":
        this.#due.delete(key);
        entry.owedMs = undefined;
        this.#await(key, entry, "wait", decision.ms);
        return;
      case "write": {
        const now = this.#options.clock.monotonicMs();
        entry.owedMs ??= now;
        this.#due.add(key, now);
        this.#pump();
        return;
      }
    }
  }

  #decide({ wish, seen, unsettledMs, futile, isAlone }: Entry): Decision {
    if (wish === undefined || seen === undefined) return { kind: "same" };
    const { found } = seen;
    if (futile?.wish === wish && futile.resourceVersion === seen.resourceVersion) return { kind: "same" };
    if (wish.kind === "Ingress") return decideIngress(wish, found.kind === "Ingress" ? found.addresses : undefined);
    if (found.kind !== "IngressRoute") return { kind: "same" };
    const { clock } = this.#options;
    const now = clock.monotonicMs();
    const status = isAlone ? { ...found.status, foreign: [] } : found.status;
    return decideIngressRoute(wish, status, now - (unsettledMs ?? now), clock.now(), this.#options);
  }

  #await(key: ObjectKey, entry: Entry, why: "retry" | "wait", ms: number): void {
    const cancel = this.#options.clock.after(ms, () => {
      entry.timer = undefined;
      this.#consider(key, entry);
    });
    entry.timer = { why, cancel };
  }

  #pump(): void {
    const { clock, concurrency, isLeading } = this.#options;
    this.#cancelPump();
    while (this.#isLeading && this.#writing.size < concurrency) {
      const now = clock.monotonicMs();
      const turn = this.#due.next(now);
      if (turn.kind === "none") return;
      if (turn.kind === "wait") {
        this.#pumpTimer = clock.after(turn.ms, () => this.#pump());
        return;
      }
      const { key } = turn;
      const entry = this.#entries.get(key);
      const decision = entry && this.#decide(entry);
      if (entry === undefined || decision?.kind !== "write") {
        this.#due.delete(key);
        if (entry !== undefined) this.#consider(key, entry);
        continue;
      }
      const pauseMs = isLeading() ? this.#notBeforeMs - now : LEASE_LOOK_MS;
      const waitMs = pauseMs > 0 ? pauseMs : this.#bucket.take(now);
      if (waitMs > 0) {
        this.#pumpTimer = clock.after(waitMs, () => this.#pump());
        return;
      }
      this.#due.take(key, now);
      const writing = this.#write(key, entry, decision.status).finally(() => {
        this.#writing.delete(writing);
        this.#pump();
      });
      this.#writing.add(writing);
    }
  }

  #cancelPump(): void {
    this.#pumpTimer?.();
    this.#pumpTimer = undefined;
  }

  /** Never rejects. */
  async #write(key: ObjectKey, entry: Entry, status: unknown): Promise<void> {
    const { wish, seen } = entry;
    if (wish === undefined || seen === undefined) return;
    const attempt: Attempt = { wish, seen, status };
    const { uid, resourceVersion } = seen;
    entry.isWriting = true;
    const { signal } = this.#term;
    try {
      const answer = await this.#options.client.request({
        method: "PATCH",
        path: statusPath(key),
        contentType: "application/merge-patch+json",
        // Refused if the object has changed since, or is another: the watch will tell, and then it may have to be something
        // else. The version alone says so for our own kinds: their status takes any uid.
        body: { metadata: { uid, resourceVersion }, status },
        timeoutMs: TIMEOUT_MS,
        signal,
      });
      entry.isWriting = false;
      this.#written(key, entry, attempt, answer);
    } catch (error) {
      entry.isWriting = false;
      // Whoever leads now compares with what the watch says.
      if (!signal.aborted) this.#failed(key, entry, attempt, error);
    }
    if (!signal.aborted || this.#isLeading) this.#consider(key, entry);
    this.#forgetIfEmpty(key, entry);
  }

  #written(key: ObjectKey, entry: Entry, { wish, seen, status }: Attempt, answer: unknown): void {
    const after = readAnswer(key, answer) ?? { ...seen, found: readStatus(key, status) };
    const { uid, resourceVersion } = after;
    entry.attempts = 0;
    entry.unsettledMs = undefined;
    entry.owedMs = undefined;
    entry.isAlone = false;
    this.#failures = 0;
    // It may be gone meanwhile, or another, or the watch may have told of this write and of later ones.
    const isCurrent = entry.seen?.uid === uid && !isOlder(resourceVersion, entry.seen.resourceVersion);
    if (isCurrent) entry.seen = after;
    const before = entry.said;
    if (entry.seen?.uid === uid && wish.kind === "IngressRoute") entry.said = wish.currentStatus;
    this.#options.onReport({ kind: "written", key, uid, resourceVersion, wish, before });
    if (!isCurrent || isTaken(status, after.found)) return;
    entry.futile = { wish, resourceVersion };
    this.#options.onReport({ kind: "altered", key });
  }

  #failed(key: ObjectKey, entry: Entry, { wish, seen }: Attempt, error: unknown): void {
    const { clock, random, onReport } = this.#options;
    if (error instanceof ApiError && (isOutdated(error) || isRefused(error))) {
      const hasForeign = seen.found.kind === "IngressRoute" && seen.found.status.foreign.length > 0;
      const isReduced = isRefused(error) && hasForeign && !entry.isAlone;
      entry.attempts = 0;
      entry.isAlone = isReduced;
      if (!isReduced) entry.futile = { wish, resourceVersion: seen.resourceVersion };
      if (isReduced) onReport({ kind: "reduced", key, error });
      else if (isOutdated(error)) onReport({ kind: "dropped", key, error });
      else onReport({ kind: "refused", key, uid: seen.uid, wish, error });
      return;
    }
    const retryAfterMs = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
    if (concernsAll(error)) {
      // What the API server asks of one request it means for all; and if it is down, all need not find that out by themselves.
      const beyond = ++this.#failures - this.#options.concurrency;
      const pauseMs = beyond > 0 ? backoffMs(beyond, random, retryAfterMs) : retryAfterMs;
      this.#notBeforeMs = Math.max(this.#notBeforeMs, clock.monotonicMs() + Math.min(pauseMs, MAX_PAUSE_MS));
    }
    const isOfBefore = entry.seen?.uid !== seen.uid || generationOf(entry.wish) !== generationOf(wish);
    const inMs = isOfBefore ? 0 : backoffMs(++entry.attempts, random, retryAfterMs);
    if (!isOfBefore) this.#await(key, entry, "retry", inMs);
    onReport({ kind: "retried", key, error, inMs });
  }
}

/** The object has changed, or is gone. */
function isOutdated({ status }: ApiError): boolean {
  return [404, 409, 410].includes(status);
}

/**
 * Such a status is not taken, and the same again would be refused again. With its status, an object may grow beyond what
 * etcd holds, which the API server tells as if it were an error of its own.
 */
function isRefused({ status, message }: ApiError): boolean {
  return [400, 413, 422].includes(status) || (status === 500 && message.includes("too large"));
}

/** Whether a failure says something of the API server as a whole. All others are between it and one object, perhaps by intent. */
function concernsAll(error: unknown): boolean {
  return !(error instanceof ApiError) || [401, 429].includes(error.status) || error.status >= 500;
}

/** However long the API server wants to be left alone: whoever stands before it may ask for a day. */
const MAX_PAUSE_MS = 30_000;

function generationOf(wish: Wish | undefined): number | undefined {
  return wish?.kind === "IngressRoute" ? wish.programmed.observedGeneration : undefined;
}

function isUnsettled(wish: Wish | undefined): boolean {
  return wish?.kind === "IngressRoute" && wish.standing !== "settled";
}

/** Whether there is something new to say beside what the Envoys do with it. */
function saysMore(before: Wish | undefined, after: Wish): boolean {
  if (before?.kind !== "IngressRoute" || after.kind !== "IngressRoute") return true;
  const said = ({ currentStatus, description, conditions, programmed }: IngressRouteWish) => [
    ...[currentStatus, description, conditions],
    programmed.observedGeneration,
  ];
  return !sameValue(said(before), said(after));
}

/** Whether what came of a write is what was written. */
function isTaken(status: unknown, found: SeenStatus): boolean {
  const written = readStatusOf(found.kind, status);
  if (written.kind === "Ingress" || found.kind === "Ingress") return sameValue(written, found);
  const ours = ({ currentStatus, description, conditions }: SeenIngressRouteStatus) => [
    currentStatus,
    description,
    conditions,
  ];
  return sameValue(ours(written.status), ours(found.status));
}

function readStatus(key: ObjectKey, status: unknown): SeenStatus {
  return readStatusOf(key.startsWith("Ingress/") ? "Ingress" : "IngressRoute", status);
}

function readStatusOf(kind: SeenStatus["kind"], status: unknown): SeenStatus {
  if (kind === "Ingress") return { kind, addresses: readAddresses(status) };
  return { kind, status: readIngressRouteStatus(status) };
}

/** Undefined for an answer that is no object. */
function readAnswer(key: ObjectKey, answer: unknown): SeenObject | undefined {
  if (!isRecord(answer) || !isRecord(answer.metadata)) return undefined;
  const { uid, resourceVersion } = answer.metadata;
  if (typeof uid !== "string" || typeof resourceVersion !== "string") return undefined;
  return { uid, resourceVersion, found: readStatus(key, answer.status) };
}

/**
 * Versions of one resource are numbers that grow, which Kubernetes promises since 1.35 and has kept always. Where they are
 * not, whatever comes last counts.
 */
function isOlder(version: string, other: string): boolean {
  if (!/^[0-9]+$/.test(version) || !/^[0-9]+$/.test(other)) return false;
  return BigInt(version) < BigInt(other);
}

function statusPath(key: ObjectKey): string {
  const [kind = "", namespace = "", name = ""] = key.split("/");
  const known = KINDS.find((each) => each.kind === kind);
  if (known === undefined) throw new Error(`${key} has no status of ours`);
  const { apiVersions, plural } = known;
  return resourcePath({ apiVersion: apiVersions[0] ?? "", plural, namespace, name, subresource: "status" });
}
