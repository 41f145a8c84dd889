import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { SecretText } from "../api/secret-text.ts";
import { backoffMs } from "../kube/backoff.ts";
import type { Clock } from "../kube/clock.ts";
import type { ReviewReport } from "./review-server.ts";
import type { FromThread, ToThread } from "./thread-messages.ts";

export type ThreadReport =
  | ReviewReport
  /** Nothing is reviewed until there is another thread. */
  | { readonly kind: "ended"; readonly error: Error };

export type ReviewThreadOptions = {
  /** What runs in the thread: `serveReviews`, with these settings. */
  readonly script: URL;
  readonly settings: object;
  readonly clock: Pick<Clock, "random" | "sleep">;
  readonly onReport: (report: ThreadReport) => void;
  /** In place of how often it is looked whether the thread still answers, for tests. */
  readonly beatMs?: number;
};

/** What the thread may have for itself. Without its own bounds it is the process that would end. */
const LIMITS = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 16, stackSizeMb: 4 };
const BEAT_MS = 1_000;
/** The API server has long given up by then. */
const MAX_UNANSWERED = 3;
const CLOSE_MS = 2_000;
/** So often in a while it is begun anew at once: while there is none, the API server is refused, and nothing is reviewed. */
const AT_ONCE = 5;
const WHILE_MS = 60_000;

/**
 * A server of reviews in a thread of its own: whatever is sent to it, and whoever sends it, the thread that feeds Envoys
 * has nothing to do with it. A thread that ends, or answers no more, is replaced.
 */
export class ReviewThread {
  readonly #options: ReviewThreadOptions;
  readonly #stopped = new AbortController();
  #worker: Worker | undefined;
  #pair: Extract<ToThread, { readonly kind: "use" }> | undefined;
  #kept: Promise<void> = Promise.resolve();

  constructor(options: ReviewThreadOptions) {
    this.#options = options;
  }

  /** Resolves to the port; rejects with the error of the socket, `EADDRINUSE` for one. */
  async listen(address: string, port: number): Promise<number> {
    const first = this.#start();
    try {
      const listening = await first.listen(address, port);
      this.#kept = this.#keep(first, address, listening);
      return listening;
    } catch (error) {
      await first.end();
      throw error;
    }
  }

  /** The certificate for connections from now on; those that are open stay. */
  use({ certPem, key }: { readonly certPem: string; readonly key: SecretText }): void {
    this.#pair = { kind: "use", certPem, keyPem: key.reveal() };
    this.#worker?.postMessage(this.#pair);
  }

  async close(): Promise<void> {
    this.#stopped.abort();
    await this.#kept;
  }

  /** Until it is closed. Never rejects. */
  async #keep(first: Thread, address: string, port: number): Promise<void> {
    const { clock, onReport } = this.#options;
    const { signal } = this.#stopped;
    let ends: readonly number[] = [];
    let thread = first;
    let listening = Promise.resolve(port);
    for (;;) {
      const error = await listening.then(() => thread.life(signal)).catch(asError);
      await thread.end();
      if (signal.aborted) return;
      const nowMs = performance.now();
      ends = [...ends.filter((endMs) => nowMs - endMs < WHILE_MS), nowMs];
      onReport({ kind: "ended", error });
      if (ends.length > AT_ONCE) {
        await clock.sleep(backoffMs(ends.length - AT_ONCE, clock.random), signal).catch((reason: unknown) => {
          if (!signal.aborted) throw reason;
        });
      }
      if (signal.aborted) return;
      thread = this.#start();
      listening = thread.listen(address, port);
    }
  }

  #start(): Thread {
    const { script, settings, onReport, beatMs = BEAT_MS } = this.#options;
    this.#worker = new Worker(script, { workerData: settings, resourceLimits: LIMITS });
    const thread = new Thread(this.#worker, beatMs, onReport);
    if (this.#pair !== undefined) this.#worker.postMessage(this.#pair);
    return thread;
  }
}

type Beginning = Extract<FromThread, { readonly kind: "listening" | "failed" }>;

/** One thread, from its beginning to its end. */
class Thread {
  readonly #worker: Worker;
  readonly #beatMs: number;
  readonly #ended: Promise<Error>;
  #unanswered = 0;
  #began: (answer: Beginning) => void = () => {};

  constructor(worker: Worker, beatMs: number, onReport: (report: ReviewReport) => void) {
    this.#worker = worker;
    this.#beatMs = beatMs;
    this.#ended = new Promise((resolve) => {
      // An error comes before the exit.
      worker.on("error", (error) => resolve(asError(error)));
      worker.on("exit", () =>
        resolve(new Error(this.#unanswered > MAX_UNANSWERED ? "it answered no more" : "it ended")),
      );
    });
    worker.on("message", (message: FromThread) => {
      if (message.kind === "report") onReport(message.report);
      else if (message.kind === "pong") this.#unanswered = 0;
      else this.#began(message);
    });
  }

  async listen(address: string, port: number): Promise<number> {
    const began = new Promise<Beginning>((resolve) => {
      this.#began = resolve;
    });
    this.#tell({ kind: "listen", address, port });
    const answer = await Promise.race([began, this.#ended]);
    if (answer instanceof Error) throw answer;
    if (answer.kind === "listening") return answer.port;
    throw Object.assign(new Error(answer.message), { code: answer.code, syscall: "listen" });
  }

  /** Resolves to why it has ended, or when it is to end. */
  async life(signal: AbortSignal): Promise<Error> {
    // Whether the process has something to do is for others to say.
    this.#worker.unref();
    const stopped = signal.aborted ? Promise.resolve() : once(signal, "abort");
    // Beats are counted and not timed: when it is this thread that hangs, the answers lie there.
    const heart = setInterval(() => {
      if (++this.#unanswered > MAX_UNANSWERED) this.#worker.terminate().catch(() => {});
      else this.#tell({ kind: "ping" });
    }, this.#beatMs).unref();
    try {
      return await Promise.race([this.#ended, stopped.then(() => new Error("it was told to end"))]);
    } finally {
      clearInterval(heart);
    }
  }

  /** Lets it answer what it is looking at, if that takes no longer than a moment. */
  async end(): Promise<void> {
    this.#worker.ref();
    this.#tell({ kind: "close" });
    const impatience = setTimeout(() => this.#worker.terminate().catch(() => {}), CLOSE_MS);
    await this.#ended;
    clearTimeout(impatience);
  }

  #tell(message: ToThread): void {
    this.#worker.postMessage(message);
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
