import { constants } from "node:crypto";
import {
  createServer as createHttpServer,
  type Server as HttpServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from "node:http";
import {
  createServer as createHttp2Server,
  createSecureServer,
  type Http2ServerRequest,
  type Http2ServerResponse,
} from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import { createServer as createTcpServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { createServer as createTlsServer, type SecureVersion, TLSSocket } from "node:tls";
import type { Identity } from "./authority.ts";
import { type Listening, listening } from "./listening.ts";
import { acceptKey, encodeFrame, FrameReader, OPCODE } from "./websocket.ts";

/** OpenSSL does TLS 1.0 and 1.1 only when it is told not to care. */
export const ANY_CIPHER = "ALL:@SECLEVEL=0";

/** What an HTTP backend answers, as JSON. */
export type Seen = {
  readonly backend: string;
  readonly method: string;
  /** From the Host header, or HTTP/2's `:authority`. */
  readonly host: string;
  readonly path: string;
  readonly httpVersion: string;
  readonly headers: IncomingHttpHeaders;
  /** Absent without TLS; false where there is none of it. */
  readonly tls: { readonly sni: string | false; readonly version: string; readonly alpn: string | false } | undefined;
};

export type TlsBackendOptions = {
  readonly name: string;
  readonly identity: Identity;
  readonly minVersion?: SecureVersion;
  readonly maxVersion?: SecureVersion;
};

/** HTTPS. Speaks HTTP/1.1 and HTTP/2 unless told otherwise, as the client chooses by ALPN. */
export function startHttps(
  options: TlsBackendOptions & { readonly alpn?: readonly ("h2" | "http/1.1")[]; readonly address?: string },
): Promise<Listening> {
  const { name, alpn = ["h2", "http/1.1"] } = options;
  const secure = tlsOptions(options);
  // Node's HTTP/2 server offers h2 whatever it is told.
  const server = alpn.includes("h2")
    ? createSecureServer({ ...secure, allowHTTP1: alpn.includes("http/1.1") }, (request, response) =>
        answer(name, request, response),
      )
    : createHttpsServer({ ...secure, ALPNProtocols: ["http/1.1"] }, (request, response) => {
        request.resume();
        response.end(JSON.stringify(seen(name, request)));
      });
  return listening(server, options.address);
}

/** HTTP/2 without TLS, with prior knowledge. */
export function startH2c({ name }: { readonly name: string }): Promise<Listening> {
  return listening(createHttp2Server((request, response) => answer(name, request, response)));
}

/** Says every text again; answers plain requests like the other HTTP backends. */
export function startWebsocket({ name }: { readonly name: string }): Promise<Listening> {
  return listening(http1Server(name));
}

/**
 * Speaks what it is spoken to, as its first bytes tell: HTTP/1.1 with websockets, HTTP/2 with prior knowledge, both over
 * TLS, or lines of text.
 */
export function startPolyglot(
  options: TlsBackendOptions & { readonly address?: string; readonly port?: number },
): Promise<Listening> {
  const { name, address, port } = options;
  const http1 = http1Server(name);
  const h2c = createHttp2Server((request, response) => answer(name, request, response));
  // OpenSSL forgets the name that was asked for when a session of TLS 1.2 is resumed.
  const secure = { ...tlsOptions(options), secureOptions: constants.SSL_OP_NO_TICKET };
  const https = createSecureServer({ ...secure, allowHTTP1: true }, (request, response) =>
    answer(name, request, response),
  );
  return listening(
    createTcpServer((socket) => {
      socket.once("data", (first) => {
        socket.pause();
        socket.unshift(first);
        if (first[0] === TLS_HANDSHAKE) https.emit("connection", socket);
        else if (first.toString("latin1").startsWith("PRI * HTTP/2")) h2c.emit("connection", socket);
        else if (/^[A-Z]+ \S+ HTTP\/1/.test(first.toString("latin1"))) {
          http1.emit("connection", socket);
          socket.resume();
        } else answerLines(name, socket);
      });
    }),
    address,
    port,
  );
}

/** The type of the first TLS record of a client. */
const TLS_HANDSHAKE = 22;

function http1Server(name: string): HttpServer {
  const server = createHttpServer((request, response) => {
    request.resume();
    response.end(JSON.stringify(seen(name, request)));
  });
  server.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
    const accept = acceptKey(request.headers["sec-websocket-key"] ?? "");
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: ${accept}\r\nx-backend: ${name}\r\n\r\n`,
    );
    const frames = new FrameReader();
    const read = (chunk: Buffer) => {
      for (const { opcode, payload } of frames.push(chunk)) {
        const reply = opcode === OPCODE.ping ? OPCODE.pong : opcode;
        socket.write(encodeFrame({ opcode: reply, payload }, "server"));
        if (opcode === OPCODE.close) socket.end();
      }
    };
    read(head);
    socket.on("data", read);
  });
  return server;
}

/** Answers each line with its name and the line. */
export function startTcp({ name }: { readonly name: string }): Promise<Listening> {
  return listening(createTcpServer((socket) => answerLines(name, socket)));
}

/** The same over TLS; the certificate shows whether anybody stood in between. */
export function startTls(options: TlsBackendOptions): Promise<Listening> {
  return listening(createTlsServer(tlsOptions(options), (socket) => answerLines(options.name, socket)));
}

export type ScriptedAnswer = {
  readonly status: number;
  readonly delayMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
};

export type Scripted = Listening & {
  /** The answers to come, one for each request; the last stands for all that follow. */
  readonly play: (answers: readonly ScriptedAnswer[]) => void;
  /** The answer to health checks from now on. */
  readonly playHealth: (answer: ScriptedAnswer) => void;
  /** The paths of the requests so far, health checks left out. */
  readonly requests: () => readonly string[];
  /** The Host headers of the health checks so far. */
  readonly healthChecks: () => readonly string[];
};

/** An HTTP backend that answers as it is told and keeps account. It answers 200 until then. */
export async function startScripted(options: {
  readonly name: string;
  readonly healthPath?: string;
}): Promise<Scripted> {
  let answers: readonly ScriptedAnswer[] = [{ status: 200 }];
  let health: ScriptedAnswer = { status: 200 };
  const requests: string[] = [];
  const healthChecks: string[] = [];
  const server = createHttpServer((request, response) => {
    request.resume();
    const path = request.url ?? "";
    const isHealthCheck = path === options.healthPath;
    if (isHealthCheck) healthChecks.push(request.headers.host ?? "");
    else requests.push(path);
    const [next = { status: 200 }, ...later] = answers;
    if (!isHealthCheck && later.length > 0) answers = later;
    const { status, delayMs = 0, headers = {} } = isHealthCheck ? health : next;
    const send = () => {
      response.writeHead(status, { "content-type": "application/json", ...headers });
      response.end(JSON.stringify(seen(options.name, request)));
    };
    // Who answers before the body has come makes it a race what the proxy still holds of it.
    request.once("end", () => {
      if (delayMs === 0) return send();
      const timer = setTimeout(send, delayMs);
      response.once("close", () => clearTimeout(timer));
    });
  });
  return {
    ...(await listening(server)),
    play: (wanted) => {
      answers = wanted;
    },
    playHealth: (wanted) => {
      health = wanted;
    },
    requests: () => [...requests],
    healthChecks: () => [...healthChecks],
  };
}

function tlsOptions({ identity, minVersion = "TLSv1", maxVersion = "TLSv1.3" }: TlsBackendOptions) {
  return { cert: identity.certPem, key: identity.keyPem, minVersion, maxVersion, ciphers: ANY_CIPHER };
}

function answer(name: string, request: Http2ServerRequest, response: Http2ServerResponse): void {
  request.resume();
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(seen(name, request)));
}

function seen(backend: string, request: IncomingMessage | Http2ServerRequest): Seen {
  const socket = "stream" in request ? request.stream.session?.socket : request.socket;
  const { headers, httpVersion, method = "", url = "" } = request;
  const host = headers[":authority"] ?? headers.host ?? "";
  const tls =
    socket instanceof TLSSocket
      ? { sni: nameAsked(socket), version: socket.getProtocol() ?? "", alpn: socket.alpnProtocol ?? false }
      : undefined;
  return { backend, method, host: String(host), path: url, httpVersion, headers, tls };
}

function nameAsked(socket: TLSSocket): string | false {
  // Node's types lack it on the server's side, and HTTP/2 hands out a proxy.
  const name: unknown = Reflect.get(socket, "servername");
  return typeof name === "string" ? name : false;
}

function answerLines(name: string, socket: Socket): void {
  createInterface({ input: socket, terminal: false })
    .on("line", (line) => socket.write(`${name} ${line}\n`))
    .on("error", () => socket.destroy());
}
