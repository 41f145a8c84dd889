import type { KubeClient } from "./client.ts";
import { ApiError, ConnectionError } from "./errors.ts";
import { decodeLease, heldLease, type LeaseRecord, newLease, releasedLease, wantedLease } from "./lease-record.ts";
import { resourcePath } from "./resource-path.ts";
import type { TimerClock } from "./timer-clock.ts";

export type ElectionTimings = {
  /** How long others leave a Lease alone that does not change. */
  readonly leaseMs: number;
  /** How long a leader leads without a renewal. What it is shorter by allows for clocks that do not run at one speed. */
  readonly renewMs: number;
  /** From one attempt to the next; up to a fifth more. */
  readonly retryMs: number;
  /** How long an answer may take. */
  readonly requestMs: number;
  /** How long the release of the Lease may take. */
  readonly releaseMs: number;
};

export const ELECTION_TIMINGS: ElectionTimings = {
  leaseMs: 15_000,
  renewMs: 10_000,
  retryMs: 2_000,
  requestMs: 5_000,
  releaseMs: 3_000,
};

export type ElectionReport =
  /** An attempt failed; there will be others. */
  | { readonly kind: "trouble"; readonly error: unknown }
  /** The first attempt after that which did not. */
  | { readonly kind: "recovered" }
  /** Somebody else has the Lease, and did not have it before. */
  | { readonly kind: "other"; readonly holder: string }
  /** There was no Lease. Whoever led by one that was deleted may do so for a while. */
  | { readonly kind: "created"; readonly waitMs: number }
  /** Somebody who has something to lead for has asked for the Lease. */
  | { readonly kind: "yielded"; readonly to: string };

/**
 * What a process wants with the lead: it has something to lead for (`lead`), or has had nothing for a while (`yield`), and
 * whoever leads without a need for it hands over to who has one.
 */
export type Need = "lead" | "neither" | "yield";

export type LeaderElectorOptions = {
  readonly client: Pick<KubeClient, "request">;
  readonly namespace: string;
  readonly name: string;
  /** No other process has the same, not even a later one in the same pod. */
  readonly identity: string;
  /** Asked at each attempt. */
  readonly need: () => Need;
  readonly timings?: ElectionTimings;
  readonly clock: TimerClock;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** Told after it has happened: who acts asks `isLeading`. */
  readonly onChange: (isLeading: boolean) => void;
  readonly observer?: (report: ElectionReport) => void;
};

/** By both clocks. */
type Moment = { readonly monotonicMs: number; readonly wallMs: number };

/** What stood there at the last look (undefined: no Lease), and since when at the latest this process knows it so. */
type Seen = { readonly lease: LeaseRecord | undefined; readonly sinceMs: number };

/** A Lease with this uid is this process's. Its last renewal began at that time. */
type Claim = { readonly uid: string; readonly renewed: Moment };

const MAX_RETRY_AFTER_MS = 30_000;
const JITTER = 0.2;
/** How often in one attempt somebody else may be faster. */
const MAX_LOOKS = 4;

/**
 * Sees to it that one of several processes leads, by means of a Lease.
 *
 * There are never two, whatever time their clocks show, as long as none runs half again as fast as another:
 * - A leader leads for `renewMs` from the start of its last successful renewal, which is before the API server wrote it.
 * - Another takes the Lease when it has seen it stand still for `leaseMs`, counted from the answer that showed it first,
 *   which is after the API server wrote it. The times in it count for nothing.
 * - Each write names the version that it replaces. Hence one that arrives late, or whose answer is lost, does no harm.
 * - A Lease may have been deleted under a leader, who puts another in its place if it still leads when it hears that it has.
 *   A new Lease of anybody else is no lead: its maker, too, has to see it stand still.
 * - Who has not led by a Lease does not release it: what is free is taken at once.
 *
 * A leader that has nothing to lead for says so in the Lease. Another that has asks for it there, once, and the leader
 * releases it.
 *
 * A machine all of whose clocks stood still, such as a paused guest, does not know it before its next renewal fails.
 */
export class LeaderElector {
  readonly #options: LeaderElectorOptions;
  readonly #timings: ElectionTimings;
  readonly #stopping = new AbortController();
  #seen: Seen | undefined;
  /** Whether that is what the API server's last answer showed, and nothing has been asked of it since. */
  #isFresh = false;
  #claim: Claim | undefined;
  #isTold = false;
  #isInTrouble = false;
  /** Whoever was last seen to have the Lease; empty if nobody, or none was seen yet. */
  #holder = "";
  #attempt: Promise<void> = Promise.resolve();
  #cancelNext: (() => void) | undefined;
  #cancelDeadline: (() => void) | undefined;
  #stopped: Promise<void> | undefined;

  constructor(options: LeaderElectorOptions) {
    this.#options = options;
    this.#timings = options.timings ?? ELECTION_TIMINGS;
  }

  /** Read off the clock: a process that was suspended knows before it does anything else. */
  get isLeading(): boolean {
    return this.#leadsForMs() > 0;
  }

  /** Nothing happens if it was stopped before. */
  start(): void {
    if (this.#stopped === undefined) this.#attempt = this.#run();
  }

  /** Stops leading at once. Resolves when the Lease is free for the next leader, or cannot be freed in time. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    this.#stopping.abort(new ConnectionError("cut", "the election was stopped"));
    this.#cancelNext?.();
    this.#tell();
    await this.#attempt;
    if (this.#claim === undefined) return;
    try {
      await this.#release();
    } catch (error) {
      this.#options.observer?.({ kind: "trouble", error });
    }
  }

  async #run(): Promise<void> {
    const { clock, random } = this.#options;
    const { retryMs } = this.#timings;
    const startMs = clock.monotonicMs();
    const retryAfterMs = await this.#try();
    if (this.#stopping.signal.aborted) return;
    this.#tell();
    const jitter = JITTER * retryMs * random();
    const leftMs = Math.max(0, retryMs - (clock.monotonicMs() - startMs));
    const waitMs = Math.max(leftMs, Math.min(retryAfterMs, MAX_RETRY_AFTER_MS)) + jitter;
    this.#cancelNext = clock.after(waitMs, () => {
      this.#attempt = this.#run();
    });
  }

  /** Returns how long the API server wants to be left alone. */
  async #try(): Promise<number> {
    const { observer } = this.#options;
    try {
      await this.#advance();
      if (this.#isInTrouble) observer?.({ kind: "recovered" });
      this.#isInTrouble = false;
      return 0;
    } catch (error) {
      if (this.#stopping.signal.aborted) return 0;
      this.#isInTrouble = true;
      observer?.({ kind: "trouble", error });
      return error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
    }
  }

  /** One attempt: does what is to be done about the Lease as it stands. */
  async #advance(): Promise<void> {
    const need = this.#options.need();
    for (let looks = 1; ; looks++) {
      const known = looks === 1 ? this.#ownLease() : undefined;
      const seen = known ?? (await this.#look());
      try {
        const { lease } = seen;
        if (lease === undefined) await this.#create(seen, need);
        else if (this.#isOurs(lease) && lease.wantedBy !== "" && need === "yield") await this.#yield(lease);
        else if (this.#isOurs(lease) || this.#isFree(lease, seen.sinceMs, need)) await this.#hold(lease, need);
        else if (lease.isIdle && lease.wantedBy === "" && need === "lead") await this.#want(lease);
        return;
      } catch (error) {
        const status = error instanceof ApiError ? error.status : undefined;
        const isOutrun = status === 409 || (status === 404 && seen.lease !== undefined);
        if (!isOutrun || looks === MAX_LOOKS) throw error;
      }
    }
  }

  /** Nobody else writes into the Lease of a leader, who therefore knows it without a look. */
  #ownLease(): Seen | undefined {
    const { lease } = this.#seen ?? {};
    return this.#isFresh && lease !== undefined && this.#isOurs(lease) ? this.#seen : undefined;
  }

  async #look(): Promise<Seen> {
    try {
      return this.#see(await this.#send("GET"));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return this.#see(undefined);
      throw error;
    }
  }

  async #create({ sinceMs }: Seen, need: Need): Promise<void> {
    const { namespace, name, clock, observer } = this.#options;
    const { leaseMs, retryMs } = this.#timings;
    // A leader would put a new one in its place.
    const isPatient = this.#holder !== "" && clock.monotonicMs() - sinceMs < 2 * retryMs;
    if (isPatient && !this.isLeading) return;
    const renewed = this.#moment();
    const lease = await this.#write("POST", newLease(namespace, name, this.#holding(renewed, need)));
    // Only now: had the answer taken longer than the lead lasted, another might have come and gone meanwhile.
    if (this.isLeading) this.#claim = { uid: lease.uid, renewed };
    else observer?.({ kind: "created", waitMs: leaseMs });
    this.#see(lease);
  }

  /** It is the start of this that counts, even if the answer comes late. */
  async #hold(lease: LeaseRecord, need: Need): Promise<void> {
    const renewed = this.#moment();
    const written = await this.#write("PUT", heldLease(lease, this.#holding(renewed, need)));
    if (written.uid !== lease.uid) throw new ConnectionError("garbled", "the answer is another Lease");
    this.#claim = { uid: written.uid, renewed };
    this.#see(written);
  }

  async #want(lease: LeaseRecord): Promise<void> {
    this.#see(await this.#send("PUT", wantedLease(lease, this.#options.identity)));
  }

  /** Stops leading before anybody can read that the Lease is free. Who asked for it is left in it. */
  async #yield(lease: LeaseRecord): Promise<void> {
    const { clock, observer } = this.#options;
    this.#claim = undefined;
    this.#tell();
    observer?.({ kind: "yielded", to: lease.wantedBy });
    this.#see(await this.#send("PUT", releasedLease(lease, clock.now())));
  }

  async #release(): Promise<void> {
    const { clock } = this.#options;
    const startMs = clock.monotonicMs();
    const leftMs = () => Math.max(1, this.#timings.releaseMs - (clock.monotonicMs() - startMs));
    for (let looks = 1; ; looks++) {
      if (!this.#isFresh || looks > 1) this.#see(await this.#send("GET", undefined, leftMs()));
      const lease = this.#seen?.lease;
      if (lease === undefined || !this.#isOurs(lease)) return;
      try {
        await this.#send("PUT", releasedLease(lease, clock.now()), leftMs());
        return;
      } catch (error) {
        if (!(error instanceof ApiError && error.status === 409) || looks === MAX_LOOKS) throw error;
      }
    }
  }

  #see(lease: LeaseRecord | undefined): Seen {
    const { clock, observer, identity } = this.#options;
    const seen = isSame(this.#seen, lease) ? this.#seen : { lease, sinceMs: clock.monotonicMs() };
    this.#seen = seen;
    this.#isFresh = true;
    if (lease !== undefined && !this.#isOurs(lease)) this.#claim = undefined;
    if (lease !== undefined && lease.holder !== this.#holder) {
      this.#holder = lease.holder;
      if (lease.holder !== "" && lease.holder !== identity) observer?.({ kind: "other", holder: lease.holder });
    }
    return seen;
  }

  async #write(method: "POST" | "PUT", body: unknown): Promise<LeaseRecord> {
    const lease = await this.#send(method, body);
    if (lease.holder === this.#options.identity) return lease;
    throw new ConnectionError("garbled", "the answer is not what was written");
  }

  async #send(method: "GET" | "POST" | "PUT", body?: unknown, releaseMs?: number): Promise<LeaseRecord> {
    const { client, namespace, name } = this.#options;
    const path = resourcePath({
      apiVersion: "coordination.k8s.io/v1",
      plural: "leases",
      namespace,
      name: method === "POST" ? undefined : name,
    });
    this.#isFresh = false;
    const timeoutMs = releaseMs ?? this.#timings.requestMs;
    const signal = releaseMs === undefined ? this.#stopping.signal : undefined;
    return decodeLease(await client.request({ method, path, body, timeoutMs, signal }));
  }

  /** That it bears the name of this process is not enough: this process must know that it was to have it. */
  #isOurs({ uid, holder }: LeaseRecord): boolean {
    return this.#claim?.uid === uid && holder === this.#options.identity;
  }

  #isFree({ holder, durationMs, wantedBy }: LeaseRecord, sinceMs: number, need: Need): boolean {
    const stillMs = this.#options.clock.monotonicMs() - sinceMs;
    // What was handed over is not taken back at once.
    const isForAnother = wantedBy !== "" && wantedBy !== this.#options.identity && need === "yield";
    return (holder === "" && !isForAnother) || stillMs >= Math.max(this.#timings.leaseMs, durationMs);
  }

  #leadsForMs(): number {
    if (this.#claim === undefined || this.#stopping.signal.aborted) return 0;
    const { monotonicMs, wallMs } = this.#claim.renewed;
    const now = this.#moment();
    // The one stands still while the machine is suspended, the other may be set back. Both together can only end a lead early.
    return this.#timings.renewMs - Math.max(now.monotonicMs - monotonicMs, now.wallMs - wallMs);
  }

  /** Tells if it has changed, and looks again when the lead is to end. */
  #tell(): void {
    const { clock, onChange } = this.#options;
    this.#cancelDeadline?.();
    const leftMs = this.#leadsForMs();
    // Timers may be a little early.
    this.#cancelDeadline = leftMs > 0 ? clock.after(leftMs + 1, () => this.#tell()) : undefined;
    const isLeading = leftMs > 0;
    if (this.#isTold === isLeading) return;
    this.#isTold = isLeading;
    onChange(isLeading);
  }

  #holding({ wallMs }: Moment, need: Need) {
    const isIdle = need === "yield";
    return { identity: this.#options.identity, durationMs: this.#timings.leaseMs, nowMs: wallMs, isIdle };
  }

  #moment(): Moment {
    const { clock } = this.#options;
    return { monotonicMs: clock.monotonicMs(), wallMs: clock.now() };
  }
}

function isSame(seen: Seen | undefined, lease: LeaseRecord | undefined): seen is Seen {
  return seen !== undefined && seen.lease?.uid === lease?.uid && seen.lease?.resourceVersion === lease?.resourceVersion;
}
