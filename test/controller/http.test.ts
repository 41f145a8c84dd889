import { connect } from "node:net";
import { text } from "node:stream/consumers";
import { ServerCredentials } from "@grpc/grpc-js";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createLog } from "../../src/controller/log.ts";
import { type RunningController, runController } from "../../src/controller/run.ts";
import type { SourceListener } from "../../src/sources/source.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { DEFAULT_SETTINGS } from "../settings.ts";

let running: RunningController;
let listener: SourceListener;
let log: string;

beforeEach(async () => {
  log = "";
  running = await runController({
    settings: DEFAULT_SETTINGS,
    xds: { address: "127.0.0.1", port: 0, credentials: ServerCredentials.createInsecure() },
    http: { address: "127.0.0.1", port: 0 },
    health: { address: "127.0.0.1", port: 0 },
    source: (given) => {
      listener = given;
      return { start: () => {}, stop: async () => {}, locate: () => undefined };
    },
    log: createLog({ level: "info", format: "json" }, (line) => {
      log += line;
    }),
    now: () => 0,
  });
});
afterEach(() => running.stop());

const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${running.httpPort}${path}`, init);
const route = (service: string) => `[{ match: /, services: [{ name: ${service}, port: 80 }] }]`;

test("/readyz answers 503 until everything has been read", async () => {
  expect((await get("/healthz")).status).toBe(200);
  expect((await get("/readyz")).status).toBe(503);
  listener.changed(objects(rootYaml("web", "web.example.com", route("web"))));
  expect((await get("/readyz")).status).toBe(503);
  listener.synced();
  const ready = await get("/readyz");
  expect([ready.status, await ready.text()]).toEqual([200, "ok\n"]);
});

test("/api/ingressroutes tells the status of each", async () => {
  listener.changed(
    objects(
      rootYaml("web", "web.example.com", route("web")) + rootYaml("bad", "bad.example.com", "[]") + serviceYaml("web"),
    ),
  );
  listener.synced();
  const description = "spec.routes: at least one route is needed";
  const unknown = {
    type: "Programmed",
    status: "Unknown",
    reason: "NoEnvoy",
    message: "no Envoy is connected that has routes",
  };
  const notServed = {
    type: "Programmed",
    status: "False",
    reason: "NotServed",
    message: "nothing of this object is served",
  };
  expect(await (await get("/api/ingressroutes")).json()).toEqual([
    {
      namespace: "default",
      name: "bad",
      fqdn: "bad.example.com",
      status: {
        currentStatus: "invalid",
        description,
        conditions: [{ type: "Valid", status: "False", reason: "RoutesMissing", message: description }, notServed],
      },
    },
    {
      namespace: "default",
      name: "web",
      fqdn: "web.example.com",
      status: {
        currentStatus: "valid",
        description: "valid IngressRoute",
        conditions: [{ type: "Valid", status: "True", reason: "Valid", message: "valid IngressRoute" }, unknown],
      },
    },
  ]);
});

test("Programmed is not said of objects of which nothing is served", async () => {
  const taken = "metadata: { name: taken, creationTimestamp: '2026-01-01T00:00:00Z' }";
  const child = "{ match: /x, services: [{ name: web, port: 80, weight: -1 }] }";
  listener.changed(
    objects(
      rootYaml("web", "web.example.com", "[{ match: /x, delegate: { name: child } }]") +
        rootYaml("taken", "web.example.com", route("web")).replace("metadata: { name: taken }", taken) +
        `---\napiVersion: contour.heptio.com/v1beta1\nkind: IngressRoute\nmetadata: { name: child }\nspec: { routes: [${child}] }\n`,
    ),
  );
  listener.synced();
  const statuses: { name: string; status: { conditions: { type: string; reason: string }[] } }[] = JSON.parse(
    await (await get("/api/ingressroutes")).text(),
  );
  const reasons = statuses.map(({ name, status }) => [
    name,
    status.conditions.find(({ type }) => type === "Programmed")?.reason,
  ]);
  expect(Object.fromEntries(reasons)).toEqual({ web: "NoEnvoy", taken: "NotServed", child: "NotServed" });
});

test("what is wrong with an object without a status is in the log", () => {
  listener.changed(objects(serviceYaml("web").replace("port: 80", "port: eighty")));
  expect(log).toContain("Service/default/web: spec.ports[0].port: must be a whole number");
});

test("a namespace has only so many lines in the log, and others have theirs", () => {
  const many = Array.from({ length: 100 }, (_, i) => rootYaml(`bad-${i}`, `bad-${i}.example.com`, "[]")).join("");
  for (let i = 0; i < 3; i++) {
    listener.changed(objects(many + serviceYaml("web").replace("port: 80", `port: eighty-${i}`)));
    listener.synced();
  }
  const other = objects(rootYaml("web", "other.example.com", "[]").replace("name: web", "name: web, namespace: other"));
  listener.changed(other);
  listener.synced();
  const lines = log
    .split("\n")
    .filter((line) => line.includes('"namespace":') || line.includes('"ingressRoute":"default/'));
  expect(lines.length).toBeLessThanOrEqual(61);
  expect(lines.filter((line) => line.includes("than is logged"))).toHaveLength(1);
  expect(log).toContain('"ingressRoute":"other/web"');
});

test("an object with thousands of problems has a status of a readable size", async () => {
  const routes = Array.from({ length: 3000 }, (_, i) => `{ match: bad-${i}, services: [{ name: web, port: 80 }] }`);
  listener.changed(objects(rootYaml("web", "web.example.com", `[${routes.join(", ")}]`)));
  const body = await (await get("/api/ingressroutes")).text();
  expect(body.length).toBeLessThan(3000);
  expect(body).toContain("and 2990 more");
});

test("/api/hosts and /metrics tell what is served", async () => {
  listener.changed(objects(rootYaml("web", "web.example.com", route("web")) + serviceYaml("web")));
  expect(await (await get("/api/hosts")).json()).toEqual([
    {
      host: "web.example.com",
      objects: ["IngressRoute/default/web"],
      routes: [{ match: "/", origin: { object: "IngressRoute/default/web", at: "spec.routes[0]" }, action: "forward" }],
    },
  ]);
  const metrics = await (await get("/metrics")).text();
  expect(metrics).toMatch(/^isoline_hosts 1$/m);
  expect(metrics).toMatch(/^isoline_ingressroutes\{status="valid"\} 1$/m);
});

test("refuses other paths and methods in a line, and answers HEAD", async () => {
  expect((await get("/nothing")).status).toBe(404);
  expect((await get("/readyz", { method: "POST" })).status).toBe(405);
  const head = await get("/healthz", { method: "HEAD" });
  expect([head.status, await head.text(), head.headers.get("content-length")]).toEqual([200, "", "3"]);
});

test("health and metrics are also on a port of their own, and nothing else is", async () => {
  listener.changed(objects(rootYaml("web", "web.example.com", route("web")) + serviceYaml("web")));
  listener.synced();
  const ask = async (path: string) => {
    const response = await fetch(`http://127.0.0.1:${running.healthPort}${path}`);
    return [response.status, await response.text()] as const;
  };
  expect(await ask("/healthz")).toEqual([200, "ok\n"]);
  expect(await ask("/readyz")).toEqual([200, "ok\n"]);
  const [status, metrics] = await ask("/metrics");
  expect(status).toBe(200);
  expect(metrics).toMatch(/^isoline_hosts 1$/m);
  expect(metrics).not.toContain("web.example.com");
  for (const path of ["/api/ingressroutes", "/api/hosts", "/api/envoys", "/"]) expect((await ask(path))[0]).toBe(404);
});

test("survives what is not HTTP", async () => {
  const socket = connect(running.httpPort, "127.0.0.1");
  socket.end("\u0000\u0001 nonsense\r\n\r\n");
  expect(await text(socket)).toMatch(/^HTTP\/1.1 400/);
  expect((await get("/healthz")).status).toBe(200);
});

test("a bug in one host leaves it as it was and every other host alone, and is told", async () => {
  const routes = "[{ match: /, services: [{ name: web, port: 80 }] }, { match: /x, delegate: { name: child } }]";
  listener.changed(
    objects(rootYaml("a", "a.example.com", routes) + rootYaml("b", "b.example.com", route("web")) + serviceYaml("web")),
  );
  listener.synced();
  const scope = () => running.cache.get("scopedRoute", "h|a.example.com")?.version;
  const before = scope();
  const child = `
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: child }
spec: { routes: [{ match: /x, services: [{ name: web, port: 80 }] }] }
`;
  const [applied] = objects(child);
  if (applied?.kind !== "applied") throw new Error("no object");
  const poisoned = Object.defineProperty({ ...applied.object }, "routes", {
    enumerable: true,
    get: () => {
      throw new Error("a bug");
    },
  });

  listener.changed([{ ...applied, object: poisoned }, ...objects(rootYaml("c", "c.example.com", route("web")))]);
  expect(scope()).toBe(before);
  expect(running.cache.get("scopedRoute", "h|b.example.com")).toBeDefined();
  expect(running.cache.get("scopedRoute", "h|c.example.com")).toBeDefined();
  expect(await (await get("/readyz")).text()).toContain("keeps parts as they were: 2,");
  expect(await (await get("/metrics")).text()).toMatch(/^isoline_bugs_total [1-9]/m);
  expect(log).toContain("a bug in Isoline");

  listener.changed([{ kind: "deleted", key: applied.key }]);
  expect(await (await get("/readyz")).text()).toBe("ok\n");
});
