import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { shortName } from "../api/object-key.ts";
import { conditionsOf } from "../compile/conditions.ts";
import type { XdsServer } from "../xds/server.ts";
import type { Controller } from "./controller.ts";
import type { ProgrammedNow } from "./programmed.ts";
import { expiryOf } from "./statuses.ts";

export type HttpServices = {
  readonly controller: Controller;
  readonly programmed: ProgrammedNow;
  readonly xds: XdsServer;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

type Answer = { readonly status: number; readonly type: string; readonly body: string };

/** The controller's own HTTP interface: health, metrics, and what it knows. It only reads. */
export function createHttpServer(services: HttpServices): Server {
  const pages = new Map<string, () => Answer | Promise<Answer>>([
    ["/healthz", () => text(200, "ok")],
    ["/readyz", () => readiness(services.controller)],
    ["/metrics", () => metrics(services.controller)],
    ["/api/ingressroutes", () => json(ingressRoutes(services))],
    ["/api/hosts", () => json(hosts(services.controller))],
    ["/api/envoys", () => json(services.xds.envoys())],
  ]);
  return createServer((request, response) => {
    answer(request, pages).then(
      (found) => send(response, found, request.method === "HEAD"),
      () => send(response, text(500, "this is a bug in Isoline"), false),
    );
  });
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

async function answer(
  { method, url = "/" }: IncomingMessage,
  pages: ReadonlyMap<string, () => Answer | Promise<Answer>>,
): Promise<Answer> {
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

function readiness({ isSynced, translator }: Controller): Answer {
  if (!isSynced) return text(503, "not everything has been read yet");
  const failing = [...translator.failing()];
  // Not a reason to take this replica out of service: it has the last good configuration of these hosts.
  return text(
    200,
    failing.length === 0 ? "ok" : `ok, but a bug in Isoline keeps these as they were: ${failing.join(", ")}`,
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
