import type { ObjectKey } from "../api/object-key.ts";
import { sameValue } from "../api/same-value.ts";
import { backoffMs } from "../kube/backoff.ts";
import type { KubeClient } from "../kube/client.ts";
import type { ApiError } from "../kube/errors.ts";
import { type Decision, decideIngressRoute, type HoldOptions } from "./ingress-route-status.ts";
import { decideIngress } from "./ingress-status.ts";
import { isOlder, isTaken, readStatus, type SeenObject } from "./seen-object.ts";
import { patchStatus } from "./status-patch.ts";
import { fitting, generationOf, isUnsettled, saysMore, type Wish } from "./wish.ts";
import { failureOf } from "./write-failure.ts";
import { WriteTurns, type WriteTurnsOptions } from "./write-turns.ts";

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

export type StatusWriterOptions = HoldOptions &
  WriteTurnsOptions & {
    readonly client: Pick<KubeClient, "request">;
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
  readonly #entries = new Map<ObjectKey, Entry>();
  readonly #turns: WriteTurns;
  #isLeading = false;
  #isStopped = false;
  /** Ends the requests of a term of leadership. */
  #term = new AbortController();

  constructor(options: StatusWriterOptions) {
    this.#options = options;
    this.#turns = new WriteTurns(options, (key) => this.#writeOf(key));
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
    this.#turns.reset();
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
    await this.#turns.idle();
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
    this.#turns.delete(key);
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
        this.#turns.delete(key);
        entry.owedMs = undefined;
        this.#await(key, entry, "wait", decision.ms);
        return;
      case "write":
        entry.owedMs ??= this.#options.clock.monotonicMs();
        this.#turns.add(key);
        return;
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

  #writeOf(key: ObjectKey): (() => Promise<void>) | undefined {
    const entry = this.#entries.get(key);
    const decision = entry && this.#decide(entry);
    if (entry !== undefined && decision?.kind === "write") return () => this.#write(key, entry, decision.status);
    this.#turns.delete(key);
    if (entry !== undefined) this.#consider(key, entry);
    return undefined;
  }

  /** Never rejects. */
  async #write(key: ObjectKey, entry: Entry, status: unknown): Promise<void> {
    const { wish, seen } = entry;
    if (wish === undefined || seen === undefined) return;
    const attempt: Attempt = { wish, seen, status };
    entry.isWriting = true;
    const { signal } = this.#term;
    try {
      const after = await patchStatus(this.#options.client, key, seen, status, signal);
      entry.isWriting = false;
      this.#written(key, entry, attempt, after);
    } catch (error) {
      entry.isWriting = false;
      // Whoever leads now compares with what the watch says.
      if (!signal.aborted) this.#failed(key, entry, attempt, error);
    }
    if (!signal.aborted || this.#isLeading) this.#consider(key, entry);
    this.#forgetIfEmpty(key, entry);
  }

  #written(key: ObjectKey, entry: Entry, { wish, status }: Attempt, after: SeenObject): void {
    const { uid, resourceVersion } = after;
    entry.attempts = 0;
    entry.unsettledMs = undefined;
    entry.owedMs = undefined;
    entry.isAlone = false;
    this.#turns.succeeded();
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
    const { random, onReport } = this.#options;
    const failure = failureOf(error);
    switch (failure.kind) {
      case "outdated":
        entry.attempts = 0;
        entry.isAlone = false;
        entry.futile = { wish, resourceVersion: seen.resourceVersion };
        onReport({ kind: "dropped", key, error: failure.error });
        return;
      case "refused": {
        const hasForeign = seen.found.kind === "IngressRoute" && seen.found.status.foreign.length > 0;
        const isReduced = hasForeign && !entry.isAlone;
        entry.attempts = 0;
        entry.isAlone = isReduced;
        if (!isReduced) entry.futile = { wish, resourceVersion: seen.resourceVersion };
        if (isReduced) onReport({ kind: "reduced", key, error: failure.error });
        else onReport({ kind: "refused", key, uid: seen.uid, wish, error: failure.error });
        return;
      }
      case "passing": {
        if (failure.concernsAll) this.#turns.failed(failure.retryAfterMs);
        const isOfBefore = entry.seen?.uid !== seen.uid || generationOf(entry.wish) !== generationOf(wish);
        const inMs = isOfBefore ? 0 : backoffMs(++entry.attempts, random, failure.retryAfterMs);
        if (!isOfBefore) this.#await(key, entry, "retry", inMs);
        onReport({ kind: "retried", key, error, inMs });
        return;
      }
    }
  }
}
