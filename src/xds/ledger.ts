/** The version of a resource that is not there. Real versions are content hashes and never empty. */
export const GONE = "";

/** Response number of what an Envoy held before the stream began. */
export const BEFORE_STREAM = 0;

/** The same for load assignments: they came behind their clusters. The first response of the stream comes next. */
export const BEFORE_STREAM_LAST = 1;

/** One resource in a response: set to this version, or removed. */
export type Part = { readonly name: string; readonly version: string; readonly origins: readonly string[] };

export type Refusal = { readonly version: string; readonly message: string; readonly origins: readonly string[] };

/** What is known about one resource in one Envoy. */
export type Item = {
  /** The last version sent. Undefined: whatever there is has to be sent. */
  sent: string | undefined;
  /** Number of the last response that carried it. */
  sentIn: number;
  /** The last version that Envoy acknowledged. */
  accepted: string | undefined;
  /** Number of the last response with it that Envoy acknowledged. */
  acceptedIn: number;
  /** Quarantine: this version is not sent again, not even after others have been. */
  refused: Refusal | undefined;
  /** This version was in a refused response and waits to be sent again with fewer others. */
  retrying: string | undefined;
  /**
   * `accepted` is no longer worth anything: a refused response that carried the resource may have been applied in part,
   * it was sent again before Envoy had answered, or Envoy has thrown it away and asked for it anew.
   */
  uncertain: boolean;
  /** Asked for by name. */
  subscribed: boolean;
  /** Envoy had it before the stream. */
  claimed: boolean;
};

export type Verdict =
  | { readonly kind: "stale" }
  | { readonly kind: "accepted"; readonly parts: readonly Part[] }
  | { readonly kind: "refused"; readonly part: Part; readonly message: string }
  | { readonly kind: "split"; readonly parts: number; readonly message: string };

/** Up to so many resources of a refused response are sent again one by one; more are halved first. */
const RETRY_SINGLY_UP_TO = 8;

/** A response on its way. Parts that were sent again since are no longer in `parts`; `size` counts them still. */
type Flight = { readonly size: number; readonly parts: Map<string, Part> };

/**
 * What one Envoy has been sent of one type, what it said to it, and what it is owed. Everything in it is keyed by
 * resource name, so its size does not depend on how often a resource changes.
 */
export class Ledger {
  readonly items: Map<string, Item> = new Map();
  /** Names to look at: their version in the cache may differ from the one sent. */
  readonly owed: Set<string> = new Set();
  /** Like `owed`, and not to wait for the answer to the last response. */
  readonly urgent: Set<string> = new Set();
  /** Whether Envoy has asked for this type, and whether it has had a response. */
  requested: boolean = false;
  answered: boolean = false;
  readonly #inFlight = new Map<number, Flight>();
  #retries: (readonly Part[])[] = [];

  get isInFlight(): boolean {
    return this.#inFlight.size > 0;
  }

  get hasRetries(): boolean {
    return this.#retries.length > 0;
  }

  /** Number of names held in all structures together, for tests of memory. */
  get pendingNames(): number {
    let count = this.owed.size + this.urgent.size;
    for (const flight of this.#inFlight.values()) count += flight.parts.size;
    for (const group of this.#retries) count += group.length;
    return count;
  }

  item(name: string): Item {
    let item = this.items.get(name);
    if (item === undefined) {
      item = {
        sent: undefined,
        sentIn: BEFORE_STREAM,
        accepted: undefined,
        acceptedIn: BEFORE_STREAM,
        refused: undefined,
        retrying: undefined,
        uncertain: false,
        subscribed: false,
        claimed: false,
      };
      this.items.set(name, item);
    }
    return item;
  }

  /** Envoy says that it holds this version from an earlier stream. */
  claim(name: string, version: string, response: number): Item {
    const item = this.item(name);
    item.sent = version;
    item.sentIn = response;
    item.accepted = version;
    item.acceptedIn = response;
    item.claimed = true;
    return item;
  }

  /** Whether Envoy must be sent this version, {@link GONE} for a removal. */
  isDue(name: string, version: string): boolean {
    const item = this.items.get(name);
    if (item === undefined) return version !== GONE;
    return item.sent !== version && item.retrying !== version && item.refused?.version !== version;
  }

  /** Whether this version was refused and has not changed since. */
  isQuarantined(name: string, version: string): boolean {
    return this.items.get(name)?.refused?.version === version;
  }

  /** Whether Envoy is known to run the version last sent. */
  isAccepted(name: string): boolean {
    const item = this.items.get(name);
    return item !== undefined && item.sent !== undefined && item.sent === item.accepted && !this.isUnanswered(name);
  }

  /** Whether the last sending of it is still unanswered. */
  isUnanswered(name: string): boolean {
    const item = this.items.get(name);
    return item !== undefined && this.#inFlight.get(item.sentIn)?.parts.has(name) === true;
  }

  /** It is to be sent whatever has been sent, and whether or not it was refused. */
  demand(name: string): void {
    const item = this.item(name);
    item.sent = undefined;
    item.refused = undefined;
    item.uncertain = true;
    this.urgent.add(name);
  }

  send(response: number, parts: readonly Part[]): void {
    this.answered = true;
    if (parts.length === 0) return;
    const flight: Flight = { size: parts.length, parts: new Map() };
    for (const part of parts) {
      const item = this.item(part.name);
      if (this.#land(item.sentIn, part.name)) item.uncertain = true;
      item.sent = part.version;
      item.sentIn = response;
      item.retrying = undefined;
      flight.parts.set(part.name, part);
    }
    this.#inFlight.set(response, flight);
  }

  accept(response: number): Verdict {
    const flight = this.#inFlight.get(response);
    if (flight === undefined) return { kind: "stale" };
    this.#inFlight.delete(response);
    const parts = [...flight.parts.values()];
    for (const { name, version } of parts) {
      const item = this.items.get(name);
      if (item === undefined) continue;
      item.accepted = version;
      item.acceptedIn = response;
      item.uncertain = false;
      if (item.refused?.version === version) item.refused = undefined;
      if (version === GONE && item.sent === GONE && !item.subscribed) this.items.delete(name);
    }
    return { kind: "accepted", parts };
  }

  /**
   * A refused response of one resource names the culprit. Of a larger one nothing is known, not even whether the
   * healthy resources in it were applied: all of it is sent again in smaller parts.
   */
  refuse(response: number, message: string): Verdict {
    const flight = this.#inFlight.get(response);
    if (flight === undefined) return { kind: "stale" };
    this.#inFlight.delete(response);
    const parts = [...flight.parts.values()];
    const [only] = parts;
    if (flight.size === 1 && only !== undefined) {
      this.#quarantine(only, message);
      return { kind: "refused", part: only, message };
    }
    for (const { name, version } of parts) {
      const item = this.item(name);
      item.sent = undefined;
      item.retrying = version;
      item.uncertain = true;
    }
    this.#retries.push(...smallerParts(parts));
    return { kind: "split", parts: parts.length, message };
  }

  /** The next parts of a refused response that are still wanted: changed resources go the normal way. */
  takeRetry(isWanted: (part: Part) => boolean): readonly Part[] {
    for (let group = this.#retries.shift(); group !== undefined; group = this.#retries.shift()) {
      const wanted = group.filter((part) => {
        const item = this.items.get(part.name);
        if (item?.retrying !== part.version) return false;
        if (isWanted(part)) return true;
        item.retrying = undefined;
        this.owed.add(part.name);
        return false;
      });
      if (wanted.length > 0) return wanted;
    }
    return [];
  }

  forget(name: string): void {
    const item = this.items.get(name);
    if (item === undefined) return;
    this.#land(item.sentIn, name);
    this.items.delete(name);
    this.owed.delete(name);
    this.urgent.delete(name);
  }

  clear(): void {
    this.items.clear();
    this.owed.clear();
    this.urgent.clear();
    this.#inFlight.clear();
    this.#retries = [];
    this.requested = false;
    this.answered = false;
  }

  #quarantine(part: Part, message: string): void {
    const item = this.item(part.name);
    item.sent = undefined;
    if (!item.uncertain) {
      item.sent = item.accepted;
      item.sentIn = item.acceptedIn;
    }
    item.refused = { version: part.version, message, origins: part.origins };
  }

  /**
   * A later response carries it, or nobody wants it: the answer to this one says nothing about it any more. Returns
   * whether there was still an answer to wait for.
   */
  #land(response: number, name: string): boolean {
    const flight = this.#inFlight.get(response);
    if (flight === undefined || !flight.parts.delete(name)) return false;
    if (flight.parts.size === 0) this.#inFlight.delete(response);
    return true;
  }
}

function smallerParts(parts: readonly Part[]): (readonly Part[])[] {
  if (parts.length <= RETRY_SINGLY_UP_TO) return parts.map((part) => [part]);
  const middle = parts.length >>> 1;
  return [parts.slice(0, middle), parts.slice(middle)];
}
