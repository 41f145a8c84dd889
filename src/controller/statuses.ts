import type { ObjectKey } from "../api/object-key.ts";
import { conditionsOf } from "../compile/conditions.ts";
import { expiryWarning } from "../compile/tls.ts";
import type { Verdict } from "../compile/verdicts.ts";
import type { TimerClock } from "../kube/timer-clock.ts";
import type { StatusSink } from "../status/reporter.ts";
import type { Delta, Translator } from "../translate/translator.ts";
import type { ServerReport } from "../xds/server.ts";
import type { ProgrammedWatch } from "./programmed-watch.ts";

export type StatusesOptions = {
  readonly translator: Translator;
  readonly watch: ProgrammedWatch;
  readonly sink: StatusSink;
  readonly clock: TimerClock;
};

/** Shortly before a status that waits for Envoys is written without them, and then again and again while it waits. */
const DOUBT_MS = 900;
const DOUBT_AGAIN_MS = 10_000;
/** So long the first Envoy may take to say something. At 10,000 hosts it has all of them after two seconds. */
const EXPECT_MS = 10_000;
/** After so long Envoys have their turn: there may be ten thousand statuses to look at. */
const TURN_MS = 20;

/** What there is to say at this time of the end of a certificate that an object brings. */
export function expiryOf({ object, fqdn }: Verdict, translator: Translator, nowMs: number): string | undefined {
  const certificate = fqdn === undefined ? undefined : translator.host(fqdn.toLowerCase())?.tls?.certificate;
  // Another root may hold the host.
  if (certificate === undefined || certificate.origin.object !== object) return undefined;
  return expiryWarning(certificate, nowMs);
}

/**
 * Tells a sink what is to be said of objects whenever that may have changed: after a batch of changes, when Envoys answer,
 * and as time passes. All that happens in one turn of the event loop is told once.
 */
export class Statuses {
  readonly #options: StatusesOptions;
  readonly #stale = new Set<ObjectKey>();
  readonly #staleIngresses = new Set<ObjectKey>();
  /** Of objects that wait for Envoys: how to prevent the next doubt. */
  readonly #doubts = new Map<ObjectKey, () => void>();
  /** By object: what was last said of its certificate's end. */
  readonly #expiries = new Map<ObjectKey, string>();
  /** There is an Envoy that has connected and said nothing yet. */
  #ceaseExpecting: (() => void) | undefined;
  #isStarted = false;
  #flushing: NodeJS.Immediate | undefined;

  constructor(options: StatusesOptions) {
    this.#options = options;
  }

  /** Everything has been read. */
  start(): void {
    this.#isStarted = true;
    const { translator } = this.#options;
    for (const key of translator.verdicts().keys()) this.#stale.add(key);
    for (const key of translator.ingresses().keys()) this.#staleIngresses.add(key);
    this.#expect();
    this.#flushSoon();
  }

  stop(): void {
    this.#isStarted = false;
    clearImmediate(this.#flushing);
    this.#flushing = undefined;
    for (const cancel of this.#doubts.values()) cancel();
    this.#doubts.clear();
    this.#expect();
  }

  /** A host is served in another way, and these are the objects that have or had a say in it. */
  hostChanged(host: string, objects: Iterable<ObjectKey>): void {
    this.#options.watch.changed(host, objects);
  }

  /** After its resources are in the cache, and its hosts were told. */
  changed({ verdicts, ingresses }: Delta): void {
    if (!this.#isStarted) return;
    for (const key of verdicts.keys()) this.#stale.add(key);
    for (const key of ingresses.keys()) this.#staleIngresses.add(key);
    this.#flushSoon();
  }

  /** Certificates come to their end without anything changing. To be called now and then. */
  lookAtExpiries(): void {
    const { translator, clock } = this.#options;
    for (const [key, verdict] of translator.verdicts()) {
      if (expiryOf(verdict, translator, clock.now()) !== this.#expiries.get(key)) this.#stale.add(key);
    }
    this.#flushSoon();
  }

  /** What an Envoy has done. */
  report(report: ServerReport): void {
    if (this.#options.watch.report(report)) this.#flushSoon();
    this.#expect();
  }

  /** Nobody waits for ever for the first Envoy to say something. */
  #expect(): void {
    const { watch, clock } = this.#options;
    if (!this.#isStarted || !watch.isExpecting) {
      this.#ceaseExpecting?.();
      this.#ceaseExpecting = undefined;
      return;
    }
    this.#ceaseExpecting ??= clock.after(EXPECT_MS, () => {
      this.#ceaseExpecting = undefined;
      watch.hear();
      this.#flushSoon();
    });
  }

  #flushSoon(): void {
    // Until everything has been read, what is known is not the truth.
    if (!this.#isStarted) return;
    this.#flushing ??= setImmediate(() => {
      this.#flushing = undefined;
      this.#flush();
    });
  }

  #flush(): void {
    const { translator, watch, sink, clock } = this.#options;
    const startMs = clock.monotonicMs();
    const isOver = () => clock.monotonicMs() - startMs >= TURN_MS;
    for (const key of watch.take(isOver)) this.#stale.add(key);
    // What is said of an object follows from all of its hosts.
    if (!watch.isStale) work(this.#stale, isOver, (key) => this.#tell(key, translator.verdicts().get(key)));
    work(this.#staleIngresses, isOver, (key) => sink.ingress(key, translator.ingresses().get(key)));
    if (watch.isStale || this.#stale.size > 0 || this.#staleIngresses.size > 0) this.#flushSoon();
  }

  #tell(key: ObjectKey, verdict: Verdict | undefined): void {
    const { translator, watch, sink, clock } = this.#options;
    if (verdict === undefined) {
      watch.forget(key);
      this.#expiries.delete(key);
      this.#trust(key);
      sink.ingressRoute(key, undefined);
      return;
    }
    const expiry = expiryOf(verdict, translator, clock.now());
    if (expiry === undefined) this.#expiries.delete(key);
    else this.#expiries.set(key, expiry);
    const { condition, standing } = watch.of(verdict);
    if (standing === "pending" || standing === "refused") this.#doubtLater(key, DOUBT_MS);
    else this.#trust(key);
    const { currentStatus, description } = verdict;
    const conditions = conditionsOf(verdict, expiry);
    sink.ingressRoute(key, {
      kind: "IngressRoute",
      ...{ currentStatus, description, conditions },
      ...{ programmed: condition, standing },
    });
  }

  /** Answers are followed as they come, and should one have been missed, the object must not wait for it for ever. */
  #doubtLater(key: ObjectKey, ms: number): void {
    if (this.#doubts.has(key)) return;
    const cancel = this.#options.clock.after(ms, () => {
      this.#doubts.delete(key);
      this.#options.watch.doubt(key);
      this.#doubtLater(key, DOUBT_AGAIN_MS);
      this.#flushSoon();
    });
    this.#doubts.set(key, cancel);
  }

  #trust(key: ObjectKey): void {
    this.#doubts.get(key)?.();
    this.#doubts.delete(key);
  }
}

/** Does it for each and takes it out, until time is over. */
function work<T>(items: Set<T>, isOver: () => boolean, each: (item: T) => void): void {
  for (const item of items) {
    if (isOver()) return;
    items.delete(item);
    each(item);
  }
}
