import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type IncomingHttpHeaders, request as sendHttp } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp, type Socket } from "node:net";
import { createInterface } from "node:readline";
import type { Duplex } from "node:stream";
import { connect as connectTls, type SecureVersion, type TLSSocket } from "node:tls";
import { ANY_CIPHER } from "./backends.ts";
import { Inbox } from "./inbox.ts";
import { acceptKey, encodeFrame, FrameReader, OPCODE } from "./websocket.ts";

const ANSWER_MS = 10_000;

export type TlsOptions = {
  readonly port: number;
  /** Sent as SNI; none is sent when it is absent. */
  readonly sni?: string;
  /** Roots to trust. Nothing is verified without. */
  readonly caPem?: string;
  readonly minVersion?: SecureVersion;
  readonly maxVersion?: SecureVersion;
  readonly alpn?: readonly string[];
  readonly client?: { readonly certPem: string; readonly keyPem: string };
};

/** A connection after its handshake. Rejects with OpenSSL's error when there is none, whose `code` names the alert. */
export async function openTls(options: TlsOptions): Promise<TLSSocket> {
  const { port, sni, caPem, minVersion = "TLSv1", maxVersion = "TLSv1.3", alpn, client } = options;
  const socket = connectTls({
    host: "127.0.0.1",
    port,
    // An empty name keeps Node from taking the address for one.
    servername: sni ?? "",
    rejectUnauthorized: caPem !== undefined,
    ...(caPem === undefined ? {} : { ca: caPem }),
    ...(sni === undefined ? { checkServerIdentity: () => undefined } : {}),
    ...(alpn === undefined ? {} : { ALPNProtocols: [...alpn] }),
    ...(client === undefined ? {} : { cert: client.certPem, key: client.keyPem }),
    minVersion,
    maxVersion,
    ciphers: ANY_CIPHER,
  });
  await once(socket, "secureConnect", { signal: AbortSignal.timeout(ANSWER_MS) });
  return socket;
}

/** The names that the peer's certificate is for. */
export function presentedNames(socket: TLSSocket): readonly string[] {
  const names = socket.getPeerCertificate().subjectaltname ?? "";
  return names.split(", ").map((name) => name.replace(/^DNS:/, ""));
}

export type HttpsRequest = TlsOptions & {
  /** The Host header, which may be another than the SNI. */
  readonly host: string;
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
};

export type HttpsReply = {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  readonly protocol: "h2" | "http/1.1";
  readonly tlsVersion: string;
};

/** One request on a connection of its own, in the protocol that ALPN brings (both are offered unless told otherwise). */
export async function requestHttps(request: HttpsRequest): Promise<HttpsReply> {
  const socket = await openTls({ ...request, alpn: request.alpn ?? ["h2", "http/1.1"] });
  try {
    const tlsVersion = socket.getProtocol() ?? "";
    const protocol = socket.alpnProtocol === "h2" ? "h2" : "http/1.1";
    const reply = protocol === "h2" ? await requestH2(socket, request) : await requestHttp1(socket, request);
    return { ...reply, protocol, tlsVersion };
  } finally {
    socket.destroy();
  }
}

type PlainRequest = Pick<HttpsRequest, "host" | "path" | "method" | "headers">;
type PlainReply = Pick<HttpsReply, "status" | "headers" | "body">;

/** One HTTP/2 request over a connection that is already there; the connection is closed. */
export async function requestH2(connection: Duplex, request: PlainRequest): Promise<PlainReply> {
  const { ask, close } = overH2(connection);
  try {
    return await ask(request);
  } finally {
    close();
  }
}

export type H2Connection = {
  readonly ask: (request: PlainRequest) => Promise<PlainReply>;
  /** Whether the connection still stands, and the other side has not said that it is about to close it. */
  readonly isOpen: () => boolean;
  readonly close: () => void;
};

/** For one request after the other over the same connection. */
export async function openH2(options: TlsOptions): Promise<H2Connection> {
  return overH2(await openTls({ ...options, alpn: ["h2"] }));
}

function overH2(connection: Duplex): H2Connection {
  const session = connectHttp2("http://unused", { createConnection: () => connection });
  return {
    ask: async (request) => {
      const stream = session.request({
        ":authority": request.host,
        ":path": request.path ?? "/",
        ":method": request.method ?? "GET",
        ...request.headers,
      });
      const failed = once(session, "error").then(([error]) => Promise.reject(error));
      const answered = once(stream, "response", { signal: AbortSignal.timeout(ANSWER_MS) });
      const [headers] = await Promise.race([answered, failed]);
      return { status: Number(headers[":status"]), headers, body: await textOf(stream) };
    },
    isOpen: () => !session.closed && !session.destroyed,
    close: () => session.destroy(),
  };
}

function requestHttp1(connection: Socket, request: PlainRequest): Promise<PlainReply> {
  return new Promise((resolve, reject) => {
    sendHttp(
      {
        createConnection: () => connection,
        path: request.path ?? "/",
        method: request.method ?? "GET",
        headers: { host: request.host, ...request.headers },
        signal: AbortSignal.timeout(ANSWER_MS),
      },
      (response) => {
        const { statusCode: status = 0, headers } = response;
        textOf(response).then((body) => resolve({ status, headers, body }), reject);
      },
    )
      .on("error", reject)
      .end();
  });
}

async function textOf(stream: AsyncIterable<Buffer>): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

export type Websocket = {
  /** Headers of the answer that opened it. */
  readonly headers: IncomingHttpHeaders;
  readonly send: (text: string) => void;
  /** The next text; rejects when the connection is gone. */
  readonly next: () => Promise<string>;
  /** Whether the connection still stands. */
  readonly isOpen: () => boolean;
  /** Says goodbye, and resolves when the other side has, too. */
  readonly close: () => Promise<void>;
};

/** The server answered as if to a plain request. */
export class NoUpgrade extends Error {
  override readonly name: string = "NoUpgrade";
  readonly status: number;
  readonly headers: IncomingHttpHeaders;

  constructor(status: number, headers: IncomingHttpHeaders) {
    super(`the answer was ${status}, not 101`);
    this.status = status;
    this.headers = headers;
  }
}

export type WebsocketOptions = {
  readonly port: number;
  readonly host: string;
  readonly path: string;
  readonly tls?: Omit<TlsOptions, "port" | "alpn">;
};

/** Rejects with {@link NoUpgrade} when the server does not switch protocols. */
export async function openWebsocket({ port, host, path, tls }: WebsocketOptions): Promise<Websocket> {
  const socket =
    tls === undefined ? connectTcp(port, "127.0.0.1") : await openTls({ ...tls, port, alpn: ["http/1.1"] });
  const key = randomBytes(16).toString("base64");
  const { headers, head } = await upgrade(socket, host, path, key);
  if (headers["sec-websocket-accept"] !== acceptKey(key)) throw new Error("the server did not accept the key");

  const inbox = new Inbox<string>();
  const frames = new FrameReader();
  const read = (chunk: Buffer) => {
    for (const { opcode, payload } of frames.push(chunk)) {
      if (opcode === OPCODE.text) inbox.put(payload.toString("utf8"));
      if (opcode === OPCODE.close) socket.end();
    }
  };
  socket.on("data", read);
  socket.on("error", (error) => inbox.end(error));
  socket.on("close", () => inbox.end(new Error("the connection is closed")));
  read(head);
  const write = (opcode: number, text: string) =>
    socket.write(encodeFrame({ opcode, payload: Buffer.from(text) }, "client"));
  return {
    headers,
    send: (text) => write(OPCODE.text, text),
    next: () => inbox.next(),
    isOpen: () => !socket.destroyed && !socket.readableEnded,
    close: async () => {
      if (socket.destroyed) return;
      const closed = once(socket, "close", { signal: AbortSignal.timeout(ANSWER_MS) });
      write(OPCODE.close, "");
      await closed;
    },
  };
}

function upgrade(
  connection: Socket,
  host: string,
  path: string,
  key: string,
): Promise<{ readonly headers: IncomingHttpHeaders; readonly head: Buffer }> {
  return new Promise((resolve, reject) => {
    sendHttp({
      createConnection: () => connection,
      path,
      headers: {
        host,
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": key,
      },
      signal: AbortSignal.timeout(ANSWER_MS),
    })
      .on("upgrade", ({ headers }, _socket, head) => resolve({ headers, head }))
      .on("response", ({ statusCode = 0, headers }) => {
        connection.destroy();
        reject(new NoUpgrade(statusCode, headers));
      })
      .on("error", reject)
      .end();
  });
}

export type LineConnection = {
  /** Sends a line and resolves with the next one that comes back; rejects when the connection is gone. */
  readonly ask: (line: string) => Promise<string>;
  readonly isOpen: () => boolean;
  readonly close: () => void;
};

/** A conversation by lines, such as TCP backends hold, over plain TCP or over TLS. */
export async function openLines(options: {
  readonly port: number;
  readonly tls?: Omit<TlsOptions, "port">;
}): Promise<LineConnection> {
  const { port, tls } = options;
  const socket = tls === undefined ? connectTcp(port, "127.0.0.1") : await openTls({ ...tls, port });
  const inbox = new Inbox<string>();
  createInterface({ input: socket, terminal: false })
    .on("line", (line) => inbox.put(line))
    // It passes on the errors of the socket.
    .on("error", (error) => inbox.end(error));
  socket.on("close", () => inbox.end(new Error("the connection is closed")));
  return {
    ask: (line) => {
      socket.write(`${line}\n`);
      return inbox.next();
    },
    isOpen: () => !socket.destroyed && !socket.readableEnded,
    close: () => socket.destroy(),
  };
}
