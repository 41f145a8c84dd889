import { createSecureContext } from "node:tls";
import { type Dispatcher, Pool } from "undici";
import type { Access, Identity } from "./access.ts";
import { ApiError, apiError, ConnectionError } from "./errors.ts";
import { JsonLines } from "./json-lines.ts";

export type KubeRequest = {
  readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** Such as `/api/v1/services`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** `application/json` if not given; a PATCH needs one that says which kind it is. */
  readonly contentType?: string;
  /** How long the whole answer may take. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
};

export type KubeWatch = Pick<KubeRequest, "path" | "query" | "timeoutMs" | "signal"> & {
  /** How long nothing at all may come before the connection counts as dead. */
  readonly idleMs?: number;
};

const TIMEOUT_MS = 30_000;
const CONNECT_MS = 10_000;
/** The API server sends a bookmark once a minute. */
const IDLE_MS = 90_000;
/** Lets the kernel find out about a dead peer, and keeps what stands between from forgetting a quiet connection. */
const KEEP_ALIVE_MS = 15_000;
/** No object is larger in etcd than 1.5 MB. */
const MAX_LINE_BYTES = 16 << 20;
/** Of a whole answer. Who asks for lists has to ask for less at a time. */
const MAX_ANSWER_BYTES = 32 << 20;

type Answer = Dispatcher.ResponseData;

/** A pool of connections with what they are secured by. */
type Connections = {
  readonly pool: Pool;
  readonly authority: string | undefined;
  readonly certificate: Identity["certificate"];
};

/**
 * Talks to an API server over HTTP/1.1, on a few connections that are kept: each watch has its own for as long as it
 * lasts, and requests share the others.
 *
 * A request rejects with an `ApiError` when the server says no, with a `ConnectionError` when no whole answer comes, and with
 * the reason of its signal when that is aborted.
 */
export class KubeClient {
  readonly #access: Access;
  readonly #server: URL;
  readonly #userAgent: string;
  #connections: Connections | undefined;
  /** Those whose certificates are out of date, while the last answers come in. */
  readonly #retired = new Set<Pool>();
  /** Those that are under way. */
  readonly #watches = new Set<Deadline>();
  /** Those of them that have said nothing since another connection of their time was given up. */
  readonly #doubted = new Set<Deadline>();
  #isClosed = false;

  constructor(access: Access, options: { readonly userAgent: string }) {
    this.#access = access;
    this.#server = new URL(access.server);
    this.#userAgent = options.userAgent;
  }

  /** The decoded answer; undefined if it is empty. */
  async request(request: KubeRequest): Promise<unknown> {
    const { timeoutMs = TIMEOUT_MS } = request;
    const deadline = this.#deadline(`no whole answer came within ${timeoutMs / 1000} s`, timeoutMs, request.signal);
    try {
      return await deadline.guard(async () => {
        const answer = await this.#send(request, deadline.signal);
        const text = await textOf(answer.body);
        this.#answered();
        return text === "" ? undefined : parse(text);
      });
    } finally {
      deadline.clear();
    }
  }

  /**
   * Resolves when the server has begun to answer; gives the values of all lines that came together, at times none. It ends
   * when the server ends the watch, and throws a `ConnectionError` when it breaks off or when nothing comes for long.
   */
  async watch(watch: KubeWatch): Promise<AsyncIterable<readonly unknown[]>> {
    const { timeoutMs = TIMEOUT_MS, idleMs = IDLE_MS } = watch;
    const deadline = this.#deadline(`no answer came within ${timeoutMs / 1000} s`, timeoutMs, watch.signal);
    try {
      const answer = await deadline.guard(() => this.#send({ ...watch, method: "GET" }, deadline.signal));
      this.#answered();
      deadline.set(`nothing came for ${idleMs / 1000} s`, idleMs);
      return this.#lines(answer.body, deadline);
    } catch (error) {
      deadline.clear();
      throw error;
    }
  }

  /** Ends everything that is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const current = this.#connections?.pool;
    await Promise.all([...this.#retired, ...(current === undefined ? [] : [current])].map((pool) => pool.destroy()));
  }

  #deadline(message: string, ms: number, signal: AbortSignal | undefined): Deadline {
    return new Deadline(message, ms, signal, () => {
      // What has silenced one connection has most likely silenced all: the next request gets a new one.
      if (this.#connections !== undefined) this.#retire(this.#connections.pool);
      this.#connections = undefined;
      for (const watch of this.#watches) this.#doubted.add(watch);
    });
  }

  /**
   * A watch that says nothing may have nothing to say. But when a connection of its time was given up and a new one works, it
   * is most likely dead, and is begun anew. As long as nothing is answered, the server is only slow, or not there at all.
   */
  #answered(): void {
    for (const watch of this.#doubted) watch.end("nothing came, while new connections were answered");
    this.#doubted.clear();
  }

  async *#lines(body: Answer["body"], deadline: Deadline): AsyncGenerator<readonly unknown[]> {
    const lines = new JsonLines(MAX_LINE_BYTES);
    this.#watches.add(deadline);
    try {
      for await (const chunk of body) {
        deadline.refresh();
        this.#doubted.delete(deadline);
        const values: unknown[] = [];
        try {
          lines.push(chunk, values);
        } finally {
          // What came before something unreadable is told, so that the next watch goes on after it.
          yield values;
        }
      }
      if (!lines.isWhole) throw new ConnectionError("cut", "the watch ended in the middle of a line");
    } catch (error) {
      throw deadline.translate(error);
    } finally {
      this.#watches.delete(deadline);
      this.#doubted.delete(deadline);
      deadline.clear();
    }
  }

  /** Answers that are no success are thrown. */
  async #send(request: Omit<KubeRequest, "timeoutMs">, signal: AbortSignal): Promise<Answer> {
    const identity = await this.#access.credentials.identity();
    const answer = await this.#dispatch(request, identity, signal);
    if (answer.statusCode !== 401) return succeeded(answer);
    // A token expires before its time when clocks disagree, and a rotated one may not have been noticed yet.
    this.#access.credentials.forget();
    this.#access.tls.authority?.forget();
    const renewed = await this.#access.credentials.identity();
    if (isSame(identity, renewed)) return succeeded(answer);
    await answer.body.dump();
    return succeeded(await this.#dispatch(request, renewed, signal));
  }

  async #dispatch(
    request: Omit<KubeRequest, "timeoutMs">,
    { authorization, certificate }: Identity,
    signal: AbortSignal,
  ): Promise<Answer> {
    const pool = await this.#poolFor(certificate);
    const { method, path, query = {}, body, contentType = "application/json" } = request;
    const search = new URLSearchParams(query).toString();
    return pool.request({
      method,
      path: `${this.#server.pathname.replace(/\/$/, "")}${path}${search === "" ? "" : `?${search}`}`,
      headers: {
        accept: "application/json",
        "user-agent": this.#userAgent,
        ...(authorization === undefined ? {} : { authorization }),
        ...(body === undefined ? {} : { "content-type": contentType }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal,
    });
  }

  /** New certificates mean new connections: the old ones go on as who they were. */
  async #poolFor(certificate: Identity["certificate"]): Promise<Pool> {
    const { tls } = this.#access;
    const authority = await tls.authority?.read();
    if (this.#isClosed) throw new ConnectionError("connect", "the connection to the API server was closed");
    const current = this.#connections;
    if (current?.authority === authority && isSameCertificate(current?.certificate, certificate) && current) {
      return current.pool;
    }
    const pool = new Pool(this.#server.origin, {
      connect: {
        secureContext: this.#secureContext(authority, certificate),
        ...(tls.serverName === undefined ? {} : { servername: tls.serverName }),
        rejectUnauthorized: !tls.isInsecure,
        keepAlive: true,
        keepAliveInitialDelay: KEEP_ALIVE_MS,
        timeout: CONNECT_MS,
      },
      // Deadlines are ours.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
    this.#connections = { pool, authority, certificate };
    if (current !== undefined) this.#retire(current.pool);
    return pool;
  }

  #secureContext(authority: string | undefined, certificate: Identity["certificate"]) {
    try {
      return createSecureContext({
        minVersion: "TLSv1.2",
        ...(authority === undefined ? {} : { ca: authority }),
        ...(certificate === undefined ? {} : { cert: certificate.certPem, key: certificate.keyPem }),
      });
    } catch (cause) {
      // Two files that are replaced one after the other do not belong together for a moment.
      this.#access.credentials.forget();
      this.#access.tls.authority?.forget();
      const why = cause instanceof Error ? cause.message : "";
      throw new ConnectionError("credentials", `the certificates for the API server cannot be used: ${why}`, { cause });
    }
  }

  #retire(pool: Pool): void {
    this.#retired.add(pool);
    pool.close(() => this.#retired.delete(pool));
  }
}

/** Aborts what it guards after a while, or along with another signal, and says why. */
class Deadline {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #onTimeout: () => void;
  readonly #abort = () => this.#controller.abort(this.#outer?.reason);
  #timer: NodeJS.Timeout;

  constructor(message: string, ms: number, outer: AbortSignal | undefined, onTimeout: () => void) {
    this.#onTimeout = onTimeout;
    this.#outer = outer;
    this.#timer = this.#start(message, ms);
    if (outer?.aborted) this.#abort();
    else outer?.addEventListener("abort", this.#abort);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Another one in its place. */
  set(message: string, ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = this.#start(message, ms);
  }

  /** It begins again. */
  refresh(): void {
    this.#timer.refresh();
  }

  /** As if its time were over. */
  end(message: string): void {
    this.#controller.abort(new ConnectionError("timeout", message));
  }

  clear(): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#abort);
  }

  /** Does it, and gives every way to fail its class. */
  async guard<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await this.#orAborted(work());
    } catch (error) {
      throw this.translate(error);
    }
  }

  translate(error: unknown): unknown {
    if (this.signal.aborted) return this.signal.reason;
    return error instanceof ApiError ? error : connectionError(error);
  }

  /** Credentials take no signal, and may wait for a plugin. */
  #orAborted<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const abort = () => reject(this.signal.reason);
      if (this.signal.aborted) abort();
      this.signal.addEventListener("abort", abort, { once: true });
      work.then(resolve, reject).finally(() => this.signal.removeEventListener("abort", abort));
    });
  }

  #start(message: string, ms: number): NodeJS.Timeout {
    return setTimeout(() => {
      this.#onTimeout();
      this.end(message);
    }, ms);
  }
}

async function succeeded(answer: Answer): Promise<Answer> {
  const { statusCode, headers, body } = answer;
  if (statusCode >= 200 && statusCode < 300) return answer;
  const text = await textOf(body);
  const retryAfter = headers["retry-after"];
  throw apiError(statusCode, parseStatus(text), typeof retryAfter === "string" ? retryAfter : undefined);
}

/** Undefined for what is none, such as a page of a proxy. */
function parseStatus(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The words of JSON.parse quote the text, which may hold a Secret.
    throw new ConnectionError("garbled", "the answer is no JSON");
  }
}

function connectionError(error: unknown): ConnectionError {
  if (error instanceof ConnectionError) return error;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const isCut = code === "UND_ERR_SOCKET" || code === "ECONNRESET" || code === "EPIPE" || code.startsWith("HPE_");
  const words = error instanceof Error ? error.message : String(error);
  return new ConnectionError(isCut ? "cut" : "connect", words || code, { cause: error });
}

function isSame(a: Identity, b: Identity): boolean {
  return a.authorization === b.authorization && isSameCertificate(a.certificate, b.certificate);
}

function isSameCertificate(a: Identity["certificate"], b: Identity["certificate"]): boolean {
  return a?.certPem === b?.certPem && a?.keyPem === b?.keyPem;
}

/** What one tenant stores must not fill the memory of all. */
async function textOf(body: Answer["body"]): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // To break off ends the answer, too.
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MAX_ANSWER_BYTES) {
      throw new ConnectionError("too large", `the answer is larger than ${MAX_ANSWER_BYTES >> 20} MiB`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
