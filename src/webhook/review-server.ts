import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { SecretText } from "../api/secret-text.ts";
import { ConnectionLimit } from "../net/connection-limit.ts";
import { isOverwhelming, uidOf } from "./bounds.ts";
import type { Verdict } from "./review.ts";

/** What happened to one request, for logs and metrics. */
export type ReviewReport =
  | { readonly kind: "reviewed"; readonly verdict: Omit<Verdict, "answer">; readonly ms: number }
  /** Not an AdmissionReview. */
  | { readonly kind: "unreadable"; readonly reason: string }
  | { readonly kind: "bug"; readonly error: unknown };

export type ReviewServerOptions = {
  /** Undefined for what is no AdmissionReview. */
  readonly review: (body: unknown) => Verdict | undefined;
  /** For what is too large to be reviewed. */
  readonly allowedUnseen: (uid: string) => Verdict;
  readonly monotonicMs: () => number;
  readonly onReport: (report: ReviewReport) => void;
};

export const REVIEW_PATH = "/validate";

/** The API server takes objects of up to 3 MB, and sends an update with what was there before. */
const MAX_BODY_BYTES = 8 << 20;
/** Of all requests together. Anybody in the network may connect, and this process has more important things to do. */
const MAX_HELD_BYTES = 16 << 20;
/** An API server changes 200 objects at once, unless told otherwise, and asks about each over a connection of its own. */
const CONNECTIONS = { max: 400, maxPerAddress: 200 };
/** The API server waits no longer, by `timeoutSeconds`. */
const REQUEST_MS = 5_000;
/** How often it is looked after requests that take too long. */
const LOOK_MS = 1_000;

/** Answers AdmissionReviews over HTTPS. Until it has a certificate, handshakes fail. */
export class ReviewServer {
  readonly #options: ReviewServerOptions;
  readonly #server: Server;
  readonly #limit = new ConnectionLimit(CONNECTIONS);
  /** Bytes of bodies that are being read. */
  #heldBytes = 0;

  constructor(options: ReviewServerOptions) {
    this.#options = options;
    const timeouts = {
      requestTimeout: REQUEST_MS,
      headersTimeout: REQUEST_MS,
      connectionsCheckingInterval: LOOK_MS,
      handshakeTimeout: REQUEST_MS,
    };
    const limits = { ...timeouts, minVersion: "TLSv1.2" } as const;
    this.#server = createServer(limits, (request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        // Whoever asked has gone before all was said.
        if (!request.complete) return;
        this.#options.onReport({ kind: "bug", error });
        send(response, 500, "this is a bug in Isoline");
      });
    });
    // Before there is any TLS: who only connects takes a place, too.
    this.#server.on("connection", (socket: Socket) => this.#limit.admit(socket));
    // A connection that breaks off, or somebody who is no API server.
    this.#server.on("tlsClientError", (_, socket) => socket.destroy());
  }

  /** Resolves to the port; rejects with the error of the socket, `EADDRINUSE` for one. */
  async listen(address: string, port: number): Promise<number> {
    this.#server.listen(port, address);
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  /** The certificate for connections from now on; those that are open stay. */
  use({ certPem, key }: { readonly certPem: string; readonly key: SecretText }): void {
    this.#server.setSecureContext({ cert: certPem, key: key.reveal(), minVersion: "TLSv1.2" });
  }

  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeIdleConnections();
    const impatience = setTimeout(() => this.#server.closeAllConnections(), 1_000);
    await closed;
    clearTimeout(impatience);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url?.split("?")[0] !== REVIEW_PATH) return send(response, 404, `not here; there is ${REVIEW_PATH}`);
    if (request.method !== "POST") return send(response, 405, "only POST");
    const body = await this.#read(request);
    if (body === "busy") return this.#refuse(request, response, "too much is asked at once", 503);
    // Who is still sending is as idle as who says nothing.
    response.once("close", this.#limit.working(request.socket));
    const startMs = this.#options.monotonicMs();
    const verdict = body.isWhole && !isOverwhelming(body.bytes) ? this.#review(body.bytes) : this.#unseen(body.bytes);
    if (verdict === undefined)
      return this.#refuse(request, response, "the body is no AdmissionReview of admission.k8s.io/v1");
    const { answer, ...told } = verdict;
    this.#options.onReport({ kind: "reviewed", verdict: told, ms: this.#options.monotonicMs() - startMs });
    if (!request.complete) response.setHeader("connection", "close");
    send(response, 200, JSON.stringify(answer), "application/json");
  }

  #review(bytes: Buffer): Verdict | undefined {
    const body = parse(bytes.toString("utf8"));
    return body === undefined ? undefined : this.#options.review(body);
  }

  #unseen(bytes: Buffer): Verdict | undefined {
    const uid = uidOf(bytes);
    return uid === undefined ? undefined : this.#options.allowedUnseen(uid);
  }

  /** What of the body is not larger than can be. Rejects when the connection breaks off. */
  async #read(request: IncomingMessage): Promise<{ readonly bytes: Buffer; readonly isWhole: boolean } | "busy"> {
    const chunks: Buffer[] = [];
    let bytes = 0;
    try {
      for await (const chunk of request.iterator({ destroyOnReturn: false })) {
        bytes += chunk.length;
        this.#heldBytes += chunk.length;
        if (bytes > MAX_BODY_BYTES) return { bytes: Buffer.concat(chunks), isWhole: false };
        if (this.#heldBytes > MAX_HELD_BYTES) return "busy";
        chunks.push(chunk);
      }
      return { bytes: Buffer.concat(chunks), isWhole: true };
    } finally {
      this.#heldBytes -= bytes;
    }
  }

  #refuse(request: IncomingMessage, response: ServerResponse, reason: string, status = 400): void {
    this.#options.onReport({ kind: "unreadable", reason });
    // What is left of the body is not read.
    if (!request.complete) response.setHeader("connection", "close");
    send(response, status, reason);
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return undefined;
  }
}

function send(response: ServerResponse, status: number, body: string, type = "text/plain; charset=utf-8"): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body) });
  response.end(body);
}
