import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { shortName } from "../api/object-key.ts";
import { conditionsOf } from "../compile/conditions.ts";
import { ConnectionLimit } from "../net/connection-limit.ts";
import type { XdsServer } from "../xds/server.ts";
import type { Controller } from "./controller.ts";
import type { ProgrammedNow } from "./programmed.ts";
import { expiryOf } from "./statuses.ts";

export type HttpServices = {
  readonly controller: Controller;
  /** What the source has not read yet. */
  readonly unread: () => readonly string[];
  readonly programmed: ProgrammedNow;
  readonly xds: XdsServer;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

type HealthServices = Pick<HttpServices, "controller" | "unread">;

type Answer = { readonly status: number; readonly type: string; readonly body: string };

type Pages = ReadonlyMap<string, () => Answer | Promise<Answer>>;

/** Probes and scrapes take no longer, nor do they come back on the same connection within a moment. */
const HEALTH_TIMEOUTS = {
  headersTimeout: 3_000,
  requestTimeout: 3_000,
  keepAliveTimeout: 1_000,
  connectionsCheckingInterval: 1_000,
};
/** For who does not read what was asked for. */
const HEALTH_SILENCE_MS = 10_000;
/** Anybody in the network may connect, and a kubelet that gets no answer ends the process. */
const HEALTH_CONNECTIONS = { max: 1_000, maxPerAddress: 32 };

/** The controller's own HTTP interface: health, metrics, and what it knows of everybody's objects. It only reads. */
export function createHttpServer(services: HttpServices): Server {
  const pages = new Map([
    ...healthPages(services),
    ["/api/ingressroutes", () => json(ingressRoutes(services))],
    ["/api/hosts", () => json(hosts(services.controller))],
    ["/api/envoys", () => json(services.xds.envoys())],
  ]);
  return createServer(answering(pages));
}

/** Of that interface, what probes and scrapers need, and nothing that one tenant may not know of another. */
export function createHealthServer(services: HealthServices): Server {
  const limit = new ConnectionLimit(HEALTH_CONNECTIONS);
  const server = createServer(HEALTH_TIMEOUTS, answering(healthPages(services), limit));
  server.setTimeout(HEALTH_SILENCE_MS);
  return server.on("connection", (socket) => limit.admit(socket));
}

function healthPages(services: HealthServices): Pages {
  return new Map<string, () => Answer | Promise<Answer>>([
    ["/healthz", () => text(200, "ok")],
    ["/readyz", () => readiness(services)],
    ["/metrics", () => metrics(services.controller)],
  ]);
}

function answering(
  pages: Pages,
  limit?: ConnectionLimit,
): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    const done = limit?.working(request.socket);
    answer(request, pages)
      .then(
        (found) => send(response, found, request.method === "HEAD"),
        () => send(response, text(500, "this is a bug in Isoline"), false),
      )
      .finally(done);
  };
}

/** Rejects with the error of the socket, `EADDRINUSE` for one. */
export async function listen(server: Server, address: string, port: number): Promise<void> {
  server.listen(port, address);
  await once(server, "listening");
}

export async function close(server: Server): Promise<void> {
  if (!server.listening) return;
  const closed = once(server, "close");
  server.close();
  server.closeAllConnections();
  await closed;
}

async function answer({ method, url = "/" }: IncomingMessage, pages: Pages): Promise<Answer> {
  const page = pages.get(url.split("?")[0] ?? "");
  if (page === undefined) return text(404, `not here; there are ${[...pages.keys()].join(", ")}`);
  if (method !== "GET" && method !== "HEAD") return text(405, "only GET and HEAD");
  return page();
}

function send(response: ServerResponse, { status, type, body }: Answer, isHead: boolean): void {
  response.writeHead(status, {
    "content-type": type,
    "content-length": Buffer.byteLength(body),
    "cache-control": "no-store",
  });
  response.end(isHead ? undefined : body);
}

function readiness({ controller: { isSynced, translator }, unread }: HealthServices): Answer {
  if (!isSynced) {
    const parts = unread();
    return text(503, `not everything has been read yet${parts.length === 0 ? "" : `: ${parts.join(", ")}`}`);
  }
  const failing = translator.failing().size;
  // Not a reason to take this replica out of service: it has the last good configuration of these hosts, which only the
  // log names: anybody may ask here.
  return text(
    200,
    failing === 0 ? "ok" : `ok, but a bug in Isoline keeps parts as they were: ${failing}, which the log names`,
  );
}

async function metrics({ telemetry: { registry } }: Controller): Promise<Answer> {
  return { status: 200, type: registry.contentType, body: await registry.metrics() };
}

function ingressRoutes({ controller: { translator }, programmed, now }: HttpServices): unknown {
  const verdicts = [...translator.verdicts().values()].sort((a, b) => (a.object < b.object ? -1 : 1));
  return verdicts.map((verdict) => {
    const [namespace, name] = shortName(verdict.object).split("/");
    const { fqdn, currentStatus, description } = verdict;
    const conditions = conditionsOf(verdict, expiryOf(verdict, translator, now()));
    return {
      namespace,
      name,
      ...(fqdn === undefined ? {} : { fqdn }),
      status: { currentStatus, description, conditions: [...conditions, programmed.of(verdict).condition] },
    };
  });
}

function hosts({ translator }: Controller): unknown {
  return translator.hosts().map(({ name, objects, routes, tls, tcpProxy }) => ({
    host: name,
    objects,
    ...(tls === undefined ? {} : { minimumTlsVersion: tls.minimumVersion }),
    ...(tcpProxy === undefined
      ? {}
      : { tcpProxy: { passthrough: tcpProxy.passthrough, open: tcpProxy.shares.length > 0 } }),
    routes: routes.map(({ match, origin, action }) => ({ match: match.path, origin, action: action.kind })),
  }));
}

function text(status: number, body: string): Answer {
  return { status, type: "text/plain; charset=utf-8", body: `${body}\n` };
}

function json(value: unknown): Answer {
  return { status: 200, type: "application/json", body: `${JSON.stringify(value, undefined, 2)}\n` };
}
