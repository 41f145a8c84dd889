import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import { createServer, type ServerOptions } from "node:https";
import type { Socket } from "node:net";
import { text } from "node:stream/consumers";
import { TLSSocket } from "node:tls";
import type { Access } from "../../src/kube/access.ts";
import { DeclaredCredentials, fixedText } from "../../src/kube/credentials.ts";
import { type Authority, createAuthority, type Identity } from "../parts/authority.ts";
import { type Listening, listening } from "../parts/listening.ts";

export type Heard = {
  readonly method: string;
  /** With the query. */
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** The common name of the client's certificate. */
  readonly client: string | undefined;
};

export type HttpsServer = Listening & {
  readonly heard: readonly Heard[];
  /** All that were ever opened. */
  readonly connections: readonly Socket[];
};

export const AUTHORITY: Authority = createAuthority("Cluster CA");
const SERVER: Identity = AUTHORITY.issue({ names: ["127.0.0.1"] });

/** An HTTPS server on the loopback that answers as it is told. */
export async function startHttpsServer(
  answer: (response: ServerResponse, heard: Heard) => void,
  options: ServerOptions & { readonly address?: string } = {},
): Promise<HttpsServer> {
  const heard: Heard[] = [];
  const connections: Socket[] = [];
  const tls = { cert: SERVER.certPem, key: SERVER.keyPem, ...options };
  const server = createServer(tls, async (request, response) => {
    const { method = "", url = "", headers, socket } = request;
    const { subject } = socket instanceof TLSSocket ? socket.getPeerCertificate() : {};
    const one: Heard = { method, url, headers, body: await text(request), client: subject && String(subject.CN) };
    heard.push(one);
    answer(response, one);
  });
  server.on("secureConnection", (socket: Socket) => {
    connections.push(socket);
    socket.on("error", () => socket.destroy());
  });
  return { ...(await listening(server, options.address)), heard, connections };
}

/** Access to a server with the certificate {@link SERVER}, as nobody unless told otherwise. */
export function accessTo(server: Pick<Listening, "port">, overrides: Partial<Access> = {}): Access {
  return {
    server: `https://127.0.0.1:${server.port}`,
    tls: { authority: fixedText(AUTHORITY.rootPem), serverName: undefined, isInsecure: false },
    credentials: new DeclaredCredentials({}),
    namespace: undefined,
    ...overrides,
  };
}

export function sendJson(
  response: ServerResponse,
  value: unknown,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));
}

/** An answer of the API server that is no success. */
export function sendStatus(response: ServerResponse, code: number, reason: string, message: string): void {
  sendJson(response, { kind: "Status", apiVersion: "v1", status: "Failure", code, reason, message }, code);
}
