import { notesWithoutStatus, type ObjectChange } from "../api/kinds.ts";
import { namespaceOf, type ObjectKey, shortName } from "../api/object-key.ts";
import { describe, withheld } from "../compile/problems.ts";
import type { Verdict } from "../compile/verdicts.ts";
import { problemText, type SourceListener, type SourceProblem } from "../sources/source.ts";
import { type Delta, type IngressReport, type TranslateOptions, Translator } from "../translate/translator.ts";
import type { Cache } from "../xds/cache.ts";
import { type BoundedLog, objectLog } from "./bounded-log.ts";
import { ChangeQueue, type Lane, lanesOf } from "./change-queue.ts";
import { envoyMs } from "./envoy-work.ts";
import { ExpiryWatch } from "./expiry-watch.ts";
import type { Logger } from "./log.ts";
import { Telemetry } from "./telemetry.ts";

export type ControllerOptions = {
  readonly translate: TranslateOptions;
  /** What every Envoy should have. */
  readonly cache: Cache;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Told of every difference after it has been passed on to the Envoys. */
  readonly onDelta?: (delta: Delta) => void;
};

/** Of one Ingress: thousands of lines would hide what is said of others. */
const MAX_LOGGED = 10;

/** How long changes are applied before others have a turn: those of a host take less, unless it has thousands of routes. */
const TURN_MS = 20;
/** Of that, so much at a time goes to those that have begun. */
const SLICE_MS = 5;
/**
 * A host with ten thousand routes takes a second, and an answer of an Envoy or a request of a probe several turns of the event
 * loop: with one such host after the other each of those would wait for several of them.
 */
const LONG_TURN_MS = 2 * TURN_MS;
/** After so long a turn, those that have begun pause for this part of the time that it took. */
const PAUSE = 0.5;

/** Changes on their way through the translator. */
type Application = {
  readonly changes: readonly ObjectChange[];
  readonly lanes: ReadonlySet<Lane>;
  readonly steps: Generator<undefined, Delta>;
  readonly end: () => void;
  /** The time it has taken, without that of others in between, and what it will take in an Envoy. */
  tookMs: number;
};

/** The one loop in which the stages meet: what a source tells goes through the translator to the Envoys. */
export class Controller {
  readonly translator: Translator;
  readonly telemetry: Telemetry = new Telemetry();
  readonly #options: ControllerOptions;
  readonly #expiries: ExpiryWatch;
  readonly #objectLog: BoundedLog;
  readonly #waiting = new ChangeQueue();
  /** In the order in which they have their turns. */
  readonly #applying: Application[] = [];
  #isWorking = false;
  /** When those that have begun go on. */
  #resumeAtMs = 0;
  /** Ends the pause in which others have their turn. */
  #pause: (() => void) | undefined;
  #batches = 0;
  #isSynced = false;
  #sourceProblems: readonly SourceProblem[] = [];

  constructor(options: ControllerOptions) {
    this.#options = options;
    this.translator = new Translator(options.translate);
    const nowMs = () => performance.now();
    this.#objectLog = objectLog(options.log, nowMs);
    // Each is told once, so that other lines of the namespace must not be in its way.
    const expiryLog = objectLog(options.log, nowMs);
    this.#expiries = new ExpiryWatch(({ text, ...facts }) => {
      expiryLog.write("warn", namespaceOf(facts.object), facts, text);
    });
  }

  /** What the controller's source is to be given. */
  readonly listener: SourceListener = {
    changed: (batch) => {
      this.#waiting.push(batch);
      this.#work();
    },
    synced: () => {
      // Even with nothing to serve there are listeners.
      this.#finish(this.#begin([]));
      this.#isSynced = true;
      this.#options.cache.ready();
      this.#options.log.info({ hosts: this.translator.hosts().length }, "everything has been read, serving");
      this.lookAtExpiries();
    },
    problems: (problems) => this.#tellProblems(problems),
  };

  /** How many batches of changes were applied. */
  get batches(): number {
    return this.#batches;
  }

  /** Whether everything that the source has told has been applied. */
  get isIdle(): boolean {
    return this.#dueInMs(performance.now()) === undefined;
  }

  get isSynced(): boolean {
    return this.#isSynced;
  }

  /** Logs which certificates have come to end soon, or have ended, since the last time. */
  lookAtExpiries(): void {
    if (this.#isSynced) this.#expiries.lookAtAll(this.translator.hosts(), this.#options.now());
  }

  /**
   * Applies what waits. What takes long stops now and then, so that Envoys, probes and the Lease have their turns; before
   * everything has been read there is nobody to wait for.
   */
  #work(): void {
    if (this.#isWorking) return;
    this.#isWorking = true;
    this.#pause?.();
    const fromMs = performance.now();
    try {
      this.#takeTurn();
    } finally {
      this.#isWorking = false;
      const nowMs = performance.now();
      if (this.#isSynced && nowMs - fromMs > LONG_TURN_MS) this.#resumeAtMs = nowMs + PAUSE * (nowMs - fromMs);
      const inMs = this.#dueInMs(nowMs);
      if (inMs !== undefined) this.#workIn(inMs);
    }
  }

  /** In how many milliseconds there is something to do, if nothing else comes; undefined: never. */
  #dueInMs(nowMs: number): number | undefined {
    const newcomers = this.#waiting.dueInMs(nowMs, this.#isBusy);
    if (this.#applying.length === 0) return newcomers;
    const others = Math.max(0, this.#resumeAtMs - nowMs);
    return newcomers === undefined ? others : Math.min(newcomers, others);
  }

  #takeTurn(): void {
    const stop = this.#isSynced ? performance.now() + TURN_MS : Number.POSITIVE_INFINITY;
    for (let nowMs = performance.now(); nowMs < stop; nowMs = performance.now()) {
      // Who has just come is first: most changes are over at once.
      const changes = this.#waiting.take(nowMs, this.#isBusy);
      const application = changes === undefined ? this.#resume(nowMs) : this.#begin(changes);
      if (application === undefined) return;
      if (!this.#advanceForAWhile(application)) this.#applying.push(application);
      else if (this.#isSynced) this.#waiting.applied(application.changes, application.tookMs, performance.now());
    }
  }

  readonly #isBusy = (lane: Lane): boolean => this.#applying.some(({ lanes }) => lanes.has(lane));

  #resume(nowMs: number): Application | undefined {
    return nowMs < this.#resumeAtMs ? undefined : this.#applying.shift();
  }

  /** Returns whether it is done. */
  #advanceForAWhile(application: Application): boolean {
    const fromMs = performance.now();
    let isDone = false;
    do isDone = this.#advance(application);
    while (!isDone && performance.now() - fromMs < SLICE_MS);
    application.tookMs += performance.now() - fromMs;
    return isDone;
  }

  #workIn(ms: number): void {
    // Only what has come from outside meanwhile is before an immediate; a timer would wait for a millisecond.
    const cancel = ms > 0 ? timeout(ms, () => this.#work()) : immediate(() => this.#work());
    this.#pause = () => {
      cancel();
      this.#pause = undefined;
    };
  }

  #begin(changes: readonly ObjectChange[]): Application {
    this.#batches++;
    for (const change of changes) {
      for (const line of notesWithoutStatus([change])) {
        this.#objectLog.write("warn", namespaceOf(change.key), {}, line);
      }
    }
    const steps = this.translator.steps(changes);
    return { changes, lanes: lanesOf(changes), steps, end: this.telemetry.applySeconds.startTimer(), tookMs: 0 };
  }

  #finish(application: Application): void {
    while (!this.#advance(application));
  }

  /** One step; returns whether it was the last. */
  #advance(application: Application): boolean {
    const { steps, end } = application;
    let delta: Delta;
    try {
      const { done, value } = steps.next();
      if (!done) return false;
      delta = value;
      this.#options.cache.apply(delta.resources);
      application.tookMs += envoyMs(delta.newClusters, this.#options.cache);
    } catch (err) {
      this.telemetry.bugs.inc();
      this.#options.log.error({ err }, "a bug in Isoline: what is served stays as it was before these changes");
      return true;
    }
    end();
    this.#tell(delta);
    return true;
  }

  #tell(delta: Delta): void {
    this.telemetry.batches.inc();
    for (const { part, error } of delta.failures) {
      this.telemetry.bugs.inc();
      this.#options.log.error({ part, err: error }, "a bug in Isoline: what this is about stays as it was before");
    }
    for (const [key, verdict] of delta.verdicts) this.#logVerdict(key, verdict);
    for (const [key, report] of delta.ingresses) this.#logIngress(key, report);
    if (this.#isSynced) {
      const changed = [...delta.hosts].sort().flatMap((name) => this.translator.host(name) ?? []);
      this.#expiries.lookAt(changed, this.#options.now());
    }
    this.#options.onDelta?.(delta);
  }

  #logVerdict(key: ObjectKey, verdict: Verdict | undefined): void {
    const ingressRoute = shortName(key);
    const log = this.#logOf(key);
    if (verdict === undefined) log("info", { ingressRoute }, "IngressRoute is gone");
    else if (verdict.currentStatus === "valid") log("info", { ingressRoute }, "IngressRoute is valid");
    else {
      const { currentStatus, description, problems } = verdict;
      // The status is for the object's author, the log for whoever runs Isoline.
      const [hidden] = problems.flatMap((problem) => withheld(problem) ?? []);
      log(
        "warn",
        { ingressRoute, description, ...(hidden && { withheld: hidden }) },
        `IngressRoute is ${currentStatus}`,
      );
    }
  }

  #logIngress(key: ObjectKey, problems: IngressReport | undefined): void {
    const ingress = shortName(key);
    const log = this.#logOf(key);
    if (problems === undefined) log("info", { ingress }, "Ingress is gone");
    else if (problems.length === 0) log("info", { ingress }, "Ingress is served");
    else {
      for (const problem of problems.slice(0, MAX_LOGGED)) {
        const hidden = withheld(problem);
        log("warn", { ingress, code: problem.code, ...(hidden && { withheld: hidden }) }, describe(problem));
      }
      if (problems.length > MAX_LOGGED) log("warn", { ingress }, `and ${problems.length - MAX_LOGGED} more problems`);
    }
  }

  #logOf(key: ObjectKey): (level: "info" | "warn", facts: object, text: string) => void {
    return (level, facts, text) => this.#objectLog.write(level, namespaceOf(key), facts, text);
  }

  #tellProblems(problems: readonly SourceProblem[]): void {
    const { log } = this.#options;
    const [before, after] = [this.#sourceProblems, problems].map((all) => new Set(all.map(problemText)));
    this.#sourceProblems = problems;
    for (const problem of problems) {
      const text = problemText(problem);
      if (before?.has(text)) continue;
      if (problem.severity === "error") log.error(text);
      else log.info(text);
    }
    for (const text of before ?? []) if (!after?.has(text)) log.info(`settled: ${text}`);
  }
}

function timeout(ms: number, then: () => void): () => void {
  const timer = setTimeout(then, ms).unref();
  return () => clearTimeout(timer);
}

function immediate(then: () => void): () => void {
  const timer = setImmediate(then);
  return () => clearImmediate(timer);
}
