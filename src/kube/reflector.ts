import { setImmediate } from "node:timers/promises";
import { backoffMs } from "./backoff.ts";
import type { KubeClient } from "./client.ts";
import { type Clock, REAL_CLOCK } from "./clock.ts";
import { ApiError, ConnectionError, fields } from "./errors.ts";
import { KnownObjects, type ReflectedChange, versionOf } from "./known-objects.ts";

export type ReflectorListener = {
  /** In the order in which they happened. Never empty. */
  readonly changed: (changes: readonly ReflectedChange[]) => void;
  /** Once, after the first whole list. */
  readonly synced: () => void;
  /** What stands in the way, when trying again has not helped either; undefined when it works again. */
  readonly trouble: (error: unknown) => void;
};

/**
 * Why there is a list of all objects: it is the first; the API server does not know any more what happened since (`expired`)
 * or its data were set back; a watch cannot get past something; or whoever is told has thrown.
 */
export type ListReason = "first" | "expired" | "setback" | "unreadable" | "bug";

/** For who counts. */
export type ReflectorEvent =
  | { readonly kind: "list"; readonly reason: ListReason }
  | { readonly kind: "watch" }
  /** The API server has said something; a bookmark is no event. */
  | { readonly kind: "heard"; readonly events: number }
  /** `label` is the status of an answer, or the fault of a connection. */
  | { readonly kind: "error"; readonly label: string };

export type ReflectorOptions = {
  readonly client: Pick<KubeClient, "request" | "watch">;
  /** Of all objects of a kind. */
  readonly path: string;
  /** What both lists and watches ask for, such as a selector. */
  readonly query?: Readonly<Record<string, string>>;
  readonly pageSize?: number;
  /** After how long a silence of a watch its connection counts as dead. */
  readonly idleMs?: number;
  readonly listener: ReflectorListener;
  readonly observer?: (event: ReflectorEvent) => void;
  readonly clock?: Clock;
};

const PAGE_SIZE = 500;
const LIST_MS = 60_000;
/** Watches end by themselves after 5 to 10 minutes, so that many of them do not end together. */
const WATCH_SECONDS = 300;
/** A watch that lasted as long as this has worked. */
const WORKED_MS = 1_000;
/** After so many tries to get past what cannot be read, everything is listed instead. */
const MAX_UNREADABLE = 3;

type Page = { readonly items: readonly unknown[]; readonly resourceVersion: string; readonly next: string };

/**
 * Tells of all objects of one kind and of everything that happens to them: a list, then a watch, which is resumed where it
 * ended. There is a new list only when the API server no longer knows what happened since. It tries for ever and keeps no
 * object.
 */
export class Reflector {
  readonly #options: ReflectorOptions;
  readonly #clock: Clock;
  readonly #known = new KnownObjects();
  readonly #stopping = new AbortController();
  /** Where a watch has to go on; undefined when that takes a new list. */
  #resourceVersion: string | undefined;
  #listReason: ListReason = "first";
  /** How many objects the next page may have. */
  #limit: number;
  #failures = 0;
  /** How often in a row a watch came to something unreadable, with nothing in between that could be read. */
  #unreadable = 0;
  #isInTrouble = false;
  #isSynced = false;
  #running: Promise<void> = Promise.resolve();

  constructor(options: ReflectorOptions) {
    this.#options = options;
    this.#clock = options.clock ?? REAL_CLOCK;
    this.#limit = options.pageSize ?? PAGE_SIZE;
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Resolves when nothing will be told any more. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        this.#resourceVersion ??= await this.#list();
        await this.#watch(this.#resourceVersion);
      } catch (error) {
        if (!signal.aborted) await this.#failed(error);
      }
    }
  }

  /** Returns the version of the list. */
  async #list(): Promise<string> {
    this.#observe({ kind: "list", reason: this.#listReason });
    const seen = new Set<string>();
    const first = await this.#page("");
    for (let page = first; ; ) {
      const { items, next } = page;
      // The next page is on its way while this one is read.
      const following = next === "" ? undefined : this.#page(next);
      const reading = setImmediate().then(() => this.#tell(this.#known.listed(items, seen)));
      const [after] = await Promise.all([following, reading]);
      if (after === undefined) break;
      page = after;
    }
    this.#tell(this.#known.unseen(seen));
    this.#failures = 0;
    if (!this.#isSynced && !this.#stopping.signal.aborted) {
      this.#isSynced = true;
      this.#options.listener.synced();
    }
    return first.resourceVersion;
  }

  /** Where objects are large, pages are short, down to one object. */
  async #page(token: string): Promise<Page> {
    const { pageSize = PAGE_SIZE } = this.#options;
    for (;;) {
      try {
        const page = await this.#pageOf(this.#limit, token);
        this.#limit = Math.min(pageSize, this.#limit * 2);
        return page;
      } catch (error) {
        const isTooLarge = error instanceof ConnectionError && error.fault === "too large";
        if (!isTooLarge || this.#limit === 1) throw error;
        this.#limit = Math.max(1, Math.floor(this.#limit / 8));
      }
    }
  }

  async #pageOf(limit: number, token: string): Promise<Page> {
    const { client, path, query } = this.#options;
    const list = fields(
      await client.request({
        method: "GET",
        path,
        query: { ...query, limit: String(limit), ...(token === "" ? {} : { continue: token }) },
        timeoutMs: LIST_MS,
        signal: this.#stopping.signal,
      }),
    );
    this.#observe({ kind: "heard", events: 0 });
    // An empty list of Go may be null.
    const items = list.items ?? [];
    if (!Array.isArray(items)) throw new ConnectionError("garbled", "the answer is no list");
    const { continue: next } = fields(list.metadata);
    return { items, resourceVersion: versionOf(list.metadata), next: typeof next === "string" ? next : "" };
  }

  /** Returns when the API server has ended the watch as it does from time to time. */
  async #watch(resourceVersion: string): Promise<void> {
    const { client, path, query, idleMs } = this.#options;
    this.#observe({ kind: "watch" });
    const timeoutSeconds = String(Math.floor(WATCH_SECONDS * (1 + this.#clock.random())));
    const batches = await client.watch({
      path,
      query: { ...query, watch: "true", allowWatchBookmarks: "true", resourceVersion, timeoutSeconds },
      ...(idleMs === undefined ? {} : { idleMs }),
      signal: this.#stopping.signal,
    });
    const startMs = this.#clock.nowMs();
    this.#observe({ kind: "heard", events: 0 });
    if (this.#unreadable === 0) this.#trouble(undefined);
    let isSilent = true;
    const hasWorked = () => !isSilent || this.#clock.nowMs() - startMs >= WORKED_MS;
    try {
      for await (const events of batches) {
        isSilent &&= events.length === 0;
        this.#happened(events);
      }
    } finally {
      if (hasWorked()) this.#failures = 0;
    }
    // Else a server that ends every watch at once would be asked again and again without a pause.
    if (!hasWorked()) throw new ConnectionError("cut", "the watch ended as soon as it had begun");
  }

  #happened(events: readonly unknown[]): void {
    const changes: ReflectedChange[] = [];
    try {
      for (const event of events) {
        const { resourceVersion, change } = this.#known.happened(event);
        this.#resourceVersion = resourceVersion;
        if (this.#unreadable > 0) this.#trouble(undefined);
        this.#unreadable = 0;
        if (change !== undefined) changes.push(change);
      }
    } finally {
      // What came before an error has happened all the same.
      this.#observe({ kind: "heard", events: changes.length });
      this.#tell(changes);
    }
  }

  async #failed(error: unknown): Promise<void> {
    this.#failures++;
    const isWatching = this.#resourceVersion !== undefined;
    const isUnreadable = isWatching && error instanceof ConnectionError && error.fault === "garbled";
    if (isUnreadable) this.#unreadable++;
    const inARow = Math.max(this.#failures, this.#unreadable);
    this.#observe({ kind: "error", label: labelOf(error) });
    if (inARow > 1) this.#trouble(error);
    const remedy = isUnreadable && this.#unreadable % MAX_UNREADABLE === 0 ? "unreadable" : remedyFor(error);
    if (remedy !== "resume") {
      this.#resourceVersion = undefined;
      this.#listReason = remedy;
    }
    // What is listed then is told again, whether it is known or not.
    if (remedy === "setback" || remedy === "bug") this.#known.forgetVersions();
    const ms = backoffMs(inARow, this.#clock.random, error instanceof ApiError ? error.retryAfterMs : 0);
    const { signal } = this.#stopping;
    await this.#clock.sleep(ms, signal).catch((reason: unknown) => {
      if (!signal.aborted) throw reason;
    });
  }

  #tell(changes: readonly ReflectedChange[]): void {
    if (changes.length > 0 && !this.#stopping.signal.aborted) this.#options.listener.changed(changes);
  }

  #trouble(error: unknown): void {
    if (error === undefined && !this.#isInTrouble) return;
    this.#isInTrouble = error !== undefined;
    this.#options.listener.trouble(error);
  }

  #observe(event: ReflectorEvent): void {
    this.#options.observer?.(event);
  }
}

/** `resume`, or why all is to be listed. */
function remedyFor(error: unknown): "resume" | ListReason {
  if (error instanceof ConnectionError) return "resume";
  // A bug of a listener, which may not have taken in what it was told.
  if (!(error instanceof ApiError)) return "bug";
  // The API server's data have been set back: versions will be used again, for something else.
  if (error.causes.includes("ResourceVersionTooLarge")) return "setback";
  // As the status of an answer or in an event.
  return error.status === 410 || error.reason === "Expired" || error.reason === "Gone" ? "expired" : "resume";
}

function labelOf(error: unknown): string {
  if (error instanceof ApiError) return String(error.status);
  return error instanceof ConnectionError ? error.fault : "bug";
}
