import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Agent, createServer as createHttpsServer, request as sendHttps } from "node:https";
import { connect, createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { createAuthority } from "./authority.ts";
import { listening } from "./listening.ts";

const LOOPBACK = "127.0.0.1";
/** How often a slow answer goes on. */
const SLOW_TICK_MS = 20;
/** They are about one connection, and not to be handed on. */
const HOP_HEADERS = new Set(["connection", "keep-alive", "transfer-encoding"]);

export type ProxiedRequest = {
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
};

/** Which requests a fault is about. */
export type Match = (request: ProxiedRequest) => boolean;

export type AnsweredRequest = ProxiedRequest & { readonly status: number };

/** Ends a fault. */
export type Off = () => void;

export type FaultProxy = {
  readonly url: string;
  /** The authority of the proxy's certificate, which is not the server's. */
  readonly caPem: string;
  /** The requests whose answers have begun, in that order. */
  readonly requests: () => readonly AnsweredRequest[];
  readonly openConnections: () => number;
  /** Resets all connections that are open. */
  readonly cut: () => void;
  readonly cutEvery: (ms: number) => Off;
  /** From now on nothing moves on the connections that are open, and neither side is told. New ones work. */
  readonly silence: () => void;
  /** Nothing moves on any connection, old or new. Afterwards everything arrives that was on its way. */
  readonly partition: () => Off;
  /** Answers in place of the server, which does not see the request. */
  readonly answer: (fault: { status: number; retryAfterSeconds?: number; match?: Match }) => Off;
  /** Breaks the connection off in the middle of the answer's body, if it is longer. */
  readonly truncate: (fault: { afterBytes: number; match?: Match }) => Off;
  /** Makes lines of an answer's body unreadable. */
  readonly garble: (fault: { match?: Match }) => Off;
  /** Lets the answer's body trickle. */
  readonly slow: (fault: { bytesPerSecond: number; match?: Match }) => Off;
  readonly stop: () => Promise<void>;
};

export function isWatch({ query }: ProxiedRequest): boolean {
  return query.watch === "true" || query.watch === "1";
}

type AnswerFault = {
  readonly kind: "answer";
  readonly status: number;
  readonly retryAfterSeconds: number | undefined;
};
type BodyFault =
  | { readonly kind: "truncate"; readonly afterBytes: number }
  | { readonly kind: "garble" }
  | { readonly kind: "slow"; readonly bytesPerSecond: number; readonly isOn: () => boolean };

/** The two sockets of one connection: with the client, and with the part that understands HTTP. */
type Connection = { readonly client: Socket; readonly inner: Socket; isSilent: boolean };

/**
 * An HTTPS server in front of an API server that does to connections and answers what the test says. It takes bearer tokens
 * only: a client's certificate ends here.
 */
export async function startFaultProxy(server: { readonly url: string; readonly caPem: string }): Promise<FaultProxy> {
  const authority = createAuthority("fault proxy");
  const { certPem, keyPem } = authority.issue({ names: [LOOPBACK, "localhost"] });
  const faults = new Map<AnswerFault | BodyFault, Match>();
  const answered: AnsweredRequest[] = [];
  const upstream = { url: server.url, agent: new Agent({ keepAlive: true, ca: server.caPem }) };

  const http = createHttpsServer({ cert: certPem, key: keyPem }, (incoming, response) => {
    const request = requestOf(incoming);
    const [fault] = [...faults].find(([, match]) => match(request)) ?? [];
    const began = (status: number) => answered.push({ ...request, status });
    if (fault?.kind === "answer") {
      began(fault.status);
      refuse(incoming, response, fault.status, fault.retryAfterSeconds);
    } else {
      forward(upstream, incoming, response, fault, began);
    }
  });
  // An API server has more patience than Node.
  Object.assign(http, { keepAliveTimeout: 0, headersTimeout: 0, requestTimeout: 0 });
  const inside = await listening(http);

  const connections = new Set<Connection>();
  const partitions = new Set<symbol>();
  const outside = await listening(
    createServer((client) => {
      const inner = connect(inside.port, LOOPBACK);
      const connection: Connection = { client, inner, isSilent: false };
      connections.add(connection);
      client.on("close", () => connections.delete(connection));
      join(connection, () => partitions.size > 0);
      if (partitions.size > 0) pause(connection);
    }),
  );

  const cut = () => {
    for (const { client } of connections) client.resetAndDestroy();
  };
  const any: Match = () => true;
  const add = (fault: AnswerFault | BodyFault, match = any): Off => {
    faults.set(fault, match);
    return () => faults.delete(fault);
  };
  return {
    url: `https://${LOOPBACK}:${outside.port}`,
    caPem: authority.rootPem,
    requests: () => [...answered],
    openConnections: () => connections.size,
    cut,
    cutEvery: (ms) => {
      const timer = setInterval(cut, ms);
      return () => clearInterval(timer);
    },
    silence: () => {
      for (const connection of connections) connection.isSilent = true;
    },
    partition: () => {
      const partition = Symbol();
      partitions.add(partition);
      for (const connection of connections) pause(connection);
      return () => {
        partitions.delete(partition);
        if (partitions.size === 0) for (const connection of connections) resume(connection);
      };
    },
    answer: ({ status, retryAfterSeconds, match }) => add({ kind: "answer", status, retryAfterSeconds }, match),
    truncate: ({ afterBytes, match }) => add({ kind: "truncate", afterBytes }, match),
    garble: ({ match }) => add({ kind: "garble" }, match),
    slow: ({ bytesPerSecond, match }) => {
      const fault: BodyFault = { kind: "slow", bytesPerSecond, isOn: () => faults.has(fault) };
      return add(fault, match);
    },
    stop: async () => {
      await outside.stop();
      await inside.stop();
      upstream.agent.destroy();
    },
  };
}

function pause({ client, inner }: Connection): void {
  client.pause();
  inner.pause();
}

function resume({ client, inner }: Connection): void {
  client.resume();
  inner.resume();
}

/** Carries bytes between both sockets. In a silent connection they are lost. */
function join(connection: Connection, isPartitioned: () => boolean): void {
  const { client, inner } = connection;
  for (const [from, to] of [
    [client, inner],
    [inner, client],
  ] as const) {
    from.setNoDelay(true);
    from.on("data", (bytes) => {
      if (!connection.isSilent && !to.write(bytes)) from.pause();
    });
    to.on("drain", () => {
      if (!isPartitioned()) from.resume();
    });
    from.on("error", () => from.destroy());
    from.on("close", () => {
      if (!connection.isSilent || from === client) to.destroy();
    });
  }
}

type Upstream = { readonly url: string; readonly agent: Agent };

function forward(
  { url, agent }: Upstream,
  incoming: IncomingMessage,
  response: ServerResponse,
  fault: BodyFault | undefined,
  began: (status: number) => void,
): void {
  const { method, headers } = incoming;
  const target = new URL(incoming.url ?? "/", url);
  const outgoing = sendHttps(target, { method, headers, agent }, (answer) => {
    const status = answer.statusCode ?? 0;
    began(status);
    const kept = Object.entries(answer.headers).filter(([name]) => !HOP_HEADERS.has(name));
    response.writeHead(status, Object.fromEntries(kept)).flushHeaders();
    void carry(answer, response, fault);
  });
  outgoing.setNoDelay(true);
  // Without a server there is no answer: the client is told as it would be by a server that dies.
  outgoing.on("error", () => response.destroy());
  response.on("close", () => outgoing.destroy());
  incoming.pipe(outgoing);
}

/** Hands an answer's body on, as the fault wants it. */
async function carry(answer: IncomingMessage, response: ServerResponse, fault: BodyFault | undefined): Promise<void> {
  let left = fault?.kind === "truncate" ? fault.afterBytes : Number.POSITIVE_INFINITY;
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  const { signal } = gone;
  try {
    for await (const bytes of answer) {
      if (bytes.length > left) {
        await flush(response, bytes.subarray(0, left));
        response.destroy();
        return;
      }
      left -= bytes.length;
      if (fault?.kind === "slow") await trickle(response, bytes, fault, signal);
      else if (fault?.kind === "garble")
        await write(response, Buffer.from(bytes.toString("latin1").replace(/./g, "x")), signal);
      else await write(response, bytes, signal);
    }
    response.end();
  } catch {
    response.destroy(); // one side broke off, and so does the proxy
  }
}

async function trickle(
  response: ServerResponse,
  bytes: Buffer,
  fault: BodyFault & { kind: "slow" },
  signal: AbortSignal,
): Promise<void> {
  const atOnce = Math.max(1, Math.ceil((fault.bytesPerSecond * SLOW_TICK_MS) / 1_000));
  let at = 0;
  while (at < bytes.length) {
    const end = fault.isOn() ? at + atOnce : bytes.length;
    await write(response, bytes.subarray(at, end), signal);
    at = end;
    await delay(SLOW_TICK_MS);
  }
}

/** Resolves when the bytes are on their way, so that they arrive even if the connection is broken off now. */
async function flush(response: ServerResponse, bytes: Buffer): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    response.once("close", () => reject(new Error("the client is gone")));
    response.write(bytes, () => resolve());
  });
}

/** Resolves when the response takes more; rejects when it never will. */
async function write(response: ServerResponse, bytes: Buffer, signal: AbortSignal): Promise<void> {
  if (response.destroyed) throw new Error("the client is gone");
  if (!response.write(bytes)) await once(response, "drain", { signal });
}

/** As an API server does it. */
function refuse(incoming: IncomingMessage, response: ServerResponse, status: number, retryAfter?: number): void {
  incoming.resume();
  response.setHeader("content-type", "application/json");
  if (retryAfter !== undefined) response.setHeader("retry-after", retryAfter);
  response.statusCode = status;
  const message = "as the test wants it";
  const reason = status === 429 ? "TooManyRequests" : status === 401 ? "Unauthorized" : "InternalError";
  response.end(JSON.stringify({ kind: "Status", apiVersion: "v1", status: "Failure", message, reason, code: status }));
}

function requestOf({ method = "GET", url = "/" }: IncomingMessage): ProxiedRequest {
  const { pathname, searchParams } = new URL(url, "https://proxy");
  return { method, path: pathname, query: Object.fromEntries(searchParams) };
}
