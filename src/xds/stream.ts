import type { Cache, CacheReader } from "./cache.ts";
import { type UserType, userOf } from "./cluster-users.ts";
import { BEFORE_STREAM_LAST, GONE, type Ledger, type Part, type Verdict } from "./ledger.ts";
import { nackMessage } from "./nack-message.ts";
import type { Effect, Report, StreamEvent } from "./stream-events.ts";
import { StreamState } from "./stream-state.ts";
import { compareWithCache, takeSubscriptions } from "./subscriptions.ts";
import { isUserType, isWildcard, RESOURCE_TYPES, type ResourceType, resourceType } from "./type-urls.ts";
import { type DeltaRequest, type EncodedResource, encodeResponse, sizeOfResource } from "./wire.ts";

export type StreamOptions = {
  /** The encoded Secret under another name: Envoy takes a secret only under the name that it asked for. */
  readonly renameSecret: (body: Uint8Array, name: string) => Uint8Array;
  /** Instead of {@link MAX_ALIASES}. */
  readonly maxAliases?: number;
};

/**
 * Responses are cut at about this size. Envoy applies a response in one go on its main thread (10,000 scopes are
 * 2.65 MB and 0.4 s), a refused one is sent again as a whole, and what waits in the socket's buffer is memory.
 */
export const MAX_RESPONSE_BYTES: number = 1 << 20;

/**
 * How many secrets one Envoy keeps under names that clients make up: in odd letter case, or below a wildcard. Each costs it
 * some 20 KB, and whoever can reach it could otherwise fill its memory. Beyond, the oldest are taken away again: the next
 * client that names one waits for a question more, a millisecond.
 */
export const MAX_ALIASES: number = 1000;

type Draft = { readonly type: ResourceType; readonly parts: readonly Part[] };

/**
 * One Envoy's delta ADS stream as a step function without I/O: events in, effects out. Everything it keeps is keyed
 * by resource name, and an event costs work for the names it is about, never for all names.
 */
export class XdsStream {
  readonly #cache: Cache;
  readonly #options: StreamOptions;
  readonly #reader: CacheReader;
  readonly #state: StreamState;
  #begun = false;
  #writable = true;
  #closed = false;
  /** Number of the last response; its nonce. */
  #response = BEFORE_STREAM_LAST;
  #nowMs = 0;
  #reports: Report[] = [];
  #examined = 0;

  constructor(cache: Cache, options: StreamOptions) {
    this.#cache = cache;
    this.#options = options;
    this.#reader = cache.reader();
    this.#state = new StreamState(cache);
  }

  /** `nowMs` is the time on a clock that never goes back. */
  on(event: StreamEvent, nowMs: number): readonly Effect[] {
    if (this.#closed) return [];
    this.#nowMs = nowMs;
    switch (event.kind) {
      case "closed":
        this.#closed = true;
        this.#reader.close();
        return [];
      case "writable":
        this.#writable = true;
        break;
      case "changed":
      case "time":
        break;
      case "request":
        this.#takeRequest(event.request);
        break;
    }
    for (const cluster of this.#state.readiness.takeChecked(nowMs)) this.#state.settle(cluster);
    this.#takeChanges();
    this.#evictAliases();
    const send = this.#writable ? this.#send() : undefined;
    const effects: Effect[] = this.#reports.map((report) => ({ kind: "report", report }));
    this.#reports = [];
    if (send !== undefined) effects.push(send);
    return effects;
  }

  /** When the event "time" is due, if nothing else happens; undefined when nothing waits for the clock. */
  get wakeAtMs(): number | undefined {
    return this.#closed ? undefined : this.#state.readiness.nextEndMs;
  }

  /** What this Envoy has been sent of a type and what it said to it. Read only. */
  ledger(type: ResourceType): Ledger {
    return this.#state.ledgers[type];
  }

  /** How many resources of a type this Envoy is still to be sent, or has not answered for. */
  pending(type: ResourceType): number {
    return this.ledger(type).pendingNames + (isUserType(type) ? this.#state.users.waiting(type) : 0);
  }

  /** How many names were looked at, for the test that work is proportional to what changed. */
  get examined(): number {
    return this.#examined;
  }

  // ---- events in

  #takeRequest(request: DeltaRequest): void {
    const type = resourceType(request.typeUrl);
    if (type === undefined) {
      this.#reports.push({ kind: "unknownType", typeUrl: request.typeUrl });
      return;
    }
    // First the subscriptions: what Envoy asks for now it did not have when it took the response.
    takeSubscriptions(this.#state, type, request, this.#nowMs);
    const claims = request.initialVersions.length;
    if (claims > 0) this.#reports.push({ kind: "claimed", type, resources: claims });
    if (request.nonce !== "") this.#takeAnswer(type, request);
  }

  #takeAnswer(type: ResourceType, request: DeltaRequest): void {
    const ledger = this.#state.ledgers[type];
    const response = Number(request.nonce);
    const verdict: Verdict =
      request.error === undefined
        ? ledger.accept(response)
        : ledger.refuse(response, nackMessage(request.error, type === "secret"));
    switch (verdict.kind) {
      case "stale":
        return;
      case "accepted":
        for (const { name, version } of verdict.parts) this.#accepted(type, name, version);
        this.#reports.push({ kind: "accepted", type, resources: verdict.parts });
        return;
      case "refused": {
        const { name, version, origins } = verdict.part;
        if (isUserType(type)) this.#state.users.refuse(userOf(type, name), version);
        if (type === "cluster") this.#state.settle(name);
        if (type === "loadAssignment") this.#state.settleClustersOf(name, this.#nowMs);
        ledger.owed.add(name); // the cache may have moved on to a version that Envoy accepted earlier
        this.#reports.push({ kind: "refused", type, name, version, origins, message: verdict.message });
        return;
      }
      case "split":
        this.#reports.push({ kind: "retried", type, resources: verdict.parts, message: verdict.message });
        return;
    }
  }

  #accepted(type: ResourceType, name: string, version: string): void {
    if (type === "cluster") this.#state.settle(name);
    else if (type === "loadAssignment") this.#state.settleClustersOf(name, this.#nowMs);
    else if (type !== "secret") {
      if (version === GONE) this.#state.users.remove(userOf(type, name));
      else this.#state.users.accept(userOf(type, name), version);
    }
  }

  // ---- what is owed

  #takeChanges(): void {
    if (!this.#cache.isReady) return;
    if (!this.#begun) {
      this.#begun = true;
      for (const type of RESOURCE_TYPES) if (this.#state.ledgers[type].requested) compareWithCache(this.#state, type);
    }
    for (const type of RESOURCE_TYPES) {
      const ledger = this.#state.ledgers[type];
      for (const name of this.#reader.take(type)) {
        if (type === "secret") for (const asked of this.#state.secrets.askedAs(name)) ledger.owed.add(asked);
        else if (isWildcard(type)) {
          if (ledger.requested) ledger.owed.add(name);
        } else if (ledger.items.get(name)?.subscribed === true) ledger.owed.add(name);
      }
    }
  }

  /**
   * Not before Envoy has acknowledged them: until then somebody's handshake waits for them. Urgent, because while
   * clients go on asking there is always an answer on its way, and the removals would never get their turn.
   */
  #evictAliases(): void {
    const { secrets, ledgers } = this.#state;
    const { maxAliases = MAX_ALIASES } = this.#options;
    const mayGo = (alias: string) => !ledgers.secret.isUnanswered(alias) && !ledgers.secret.urgent.has(alias);
    for (;;) {
      const alias = secrets.evict(maxAliases, mayGo);
      if (alias === undefined) return;
      ledgers.secret.urgent.add(alias);
    }
  }

  // ---- responses out

  #send(): Effect | undefined {
    if (!this.#begun) return undefined;
    let draft = this.#nextDraft();
    if (draft === undefined) {
      // To see that there is nothing to send is to see what Envoy holds already.
      this.#evictAliases();
      draft = this.#nextDraft();
    }
    if (draft === undefined) return undefined;
    this.#writable = false;
    const { type, parts } = draft;
    const response = ++this.#response;
    this.#state.ledgers[type].send(response, parts);
    const resources: EncodedResource[] = [];
    const set: string[] = [];
    const removed: string[] = [];
    for (const { name, version } of parts) {
      const resource = version === GONE ? undefined : this.#state.encoded(type, name, this.#options.renameSecret);
      if (resource === undefined) removed.push(name);
      else {
        set.push(name);
        resources.push(resource);
      }
      this.#sent(type, name, version);
    }
    const nonce = `${response}`;
    return { kind: "send", type, nonce, bytes: encodeResponse(type, nonce, resources, removed), set, removed };
  }

  #sent(type: ResourceType, name: string, version: string): void {
    if (type === "cluster") {
      if (version === GONE) {
        this.#state.readiness.remove(name);
        return;
      }
      const cluster = this.#cache.get(type, name);
      if (cluster === undefined) return;
      this.#state.readiness.send(cluster);
      this.#state.settle(name);
      if (cluster.loadAssignment === undefined) return;
      // Without it a changed cluster warms for 15 s, and so does a new one that shares a name already subscribed.
      this.#state.ledgers.loadAssignment.demand(cluster.loadAssignment);
    } else if (isUserType(type) && version !== GONE) {
      this.#state.users.send(userOf(type, name), version, this.#cache.get(type, name)?.clusters ?? []);
    }
  }

  /** In order of urgency. Clusters go first, each response directly followed by its load assignments. */
  #nextDraft(): Draft | undefined {
    return (
      this.#collect("secret", this.#state.ledgers.secret.urgent) ??
      this.#urgentLoadAssignments() ??
      this.#retry("cluster") ??
      this.#collect("cluster", this.#state.ledgers.cluster.owed) ??
      this.#oneAtATime("loadAssignment") ??
      this.#oneAtATime("listener") ??
      this.#oneAtATime("scopedRoute") ??
      this.#oneAtATime("secret") ??
      this.#clusterRemovals() ??
      this.#firstEmpty()
    );
  }

  /** Envoy drops, without a word, responses of a type that it has not asked for yet. */
  #urgentLoadAssignments(): Draft | undefined {
    const { requested, urgent } = this.#state.ledgers.loadAssignment;
    return requested ? this.#collect("loadAssignment", urgent) : undefined;
  }

  /** Waits for the answer to the last response: meanwhile further changes gather in `owed`. */
  #oneAtATime(type: ResourceType): Draft | undefined {
    const ledger = this.#state.ledgers[type];
    if (ledger.isInFlight) return undefined;
    return this.#retry(type) ?? this.#collect(type, ledger.owed);
  }

  #retry(type: ResourceType): Draft | undefined {
    const ledger = this.#state.ledgers[type];
    if (!ledger.hasRetries) return undefined;
    const parts = ledger.takeRetry(
      ({ name, version }) =>
        this.#state.desired(type, name) === version &&
        (!isUserType(type) || this.#state.missingCluster(type, name) === undefined),
    );
    return parts.length === 0 ? undefined : { type, parts };
  }

  #collect(type: ResourceType, names: Set<string>): Draft | undefined {
    const ledger = this.#state.ledgers[type];
    const parts: Part[] = [];
    // With its first scopes Envoy opens the listener: in parts, it would answer 404 for the hosts that are still to come.
    const maxBytes = type === "scopedRoute" && !ledger.answered ? Number.POSITIVE_INFINITY : MAX_RESPONSE_BYTES;
    let bytes = 0;
    for (const name of names) {
      this.#examined++;
      const version = this.#state.desired(type, name);
      if (type === "secret") this.#state.secrets.count(this.#cache, name);
      if (!ledger.isDue(name, version)) {
        names.delete(name);
        this.#confirm(type, name, version);
        continue;
      }
      if (type === "cluster" && version === GONE) {
        names.delete(name);
        this.#state.users.unwant(name);
        continue;
      }
      if (isUserType(type) && this.#mustWait(type, name)) {
        names.delete(name);
        continue;
      }
      const resource = this.#state.resource(type, name);
      bytes += resource === undefined ? name.length : sizeOfResource(type, resource);
      if (bytes > maxBytes && parts.length > 0) break;
      names.delete(name);
      parts.push({ name, version, origins: resource?.origins ?? [] });
    }
    return parts.length === 0 ? undefined : { type, parts };
  }

  #mustWait(type: UserType, name: string): boolean {
    const missing = this.#state.missingCluster(type, name);
    if (missing !== undefined) this.#state.users.waitFor(userOf(type, name), missing);
    return missing !== undefined;
  }

  /** Nothing is to be sent, perhaps because the cache has come back to what Envoy runs: only now we know what that is. */
  #confirm(type: ResourceType, name: string, version: string): void {
    const ledger = this.#state.ledgers[type];
    const resource = this.#cache.get(type, name);
    if (resource === undefined || ledger.items.get(name)?.sent !== version || !ledger.isAccepted(name)) return;
    if (type === "cluster") {
      this.#state.readiness.set(resource);
      this.#state.readiness.beginChecks(name, this.#nowMs);
      this.#state.settle(name);
    } else if (isUserType(type)) {
      this.#state.users.send(userOf(type, name), version, resource.clusters);
      this.#state.users.accept(userOf(type, name), version);
    }
  }

  #clusterRemovals(): Draft | undefined {
    const ledger = this.#state.ledgers.cluster;
    const parts: Part[] = [];
    for (const name of this.#state.users.takeRemovable()) {
      // Set again meanwhile: it stays.
      if (this.#cache.get("cluster", name) === undefined && ledger.isDue(name, GONE)) {
        parts.push({ name, version: GONE, origins: [] });
      }
    }
    return parts.length === 0 ? undefined : { type: "cluster", parts };
  }

  /** Envoy waits for the first response of these types before it goes on, even if there is nothing to say. */
  #firstEmpty(): Draft | undefined {
    for (const type of RESOURCE_TYPES) {
      const ledger = this.#state.ledgers[type];
      if (!isWildcard(type) || !ledger.requested || ledger.answered) continue;
      if (isUserType(type) && this.#state.users.waiting(type) > 0) continue;
      return { type, parts: [] };
    }
    return undefined;
  }
}
