import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { type Scripted, startScripted } from "../parts/backends.ts";
import { eventually, freePort, type Reply, request } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const LOOPBACK = "127.0.0.1";
const SETTLE_MS = 5000;
const HOST = "web.example.com";
const ROOT = rootYaml(
  "web",
  HOST,
  `[{ match: /, services: [{ name: web, port: 80 }] },
    { match: /old, prefixRewrite: /new, services: [{ name: web, port: 80 }] },
    { match: /retried, retryPolicy: { count: 1 }, services: [{ name: web, port: 80 }] }]`,
);

type Headers = Readonly<Record<string, string>>;

describeWithEnvoy("an Envoy at the edge", (binary) => {
  let world: World;
  let backend: Scripted;
  let statsPort: number;
  /** What Envoy says to a client that never ends its headers; asked for first, as it takes ten seconds. */
  let slow: { readonly answer: Promise<string>; readonly socket: Socket };
  beforeAll(async () => {
    backend = await startScripted({ name: "web" });
    statsPort = await freePort();
    const edge = { stats: { address: LOOPBACK, port: statsPort } };
    world = await startWorld({ binary, echo: false, edge });
    await world.apply(objects(ROOT + serviceYaml("web", backend.port)));
    const socket = connect(world.httpPort, LOOPBACK);
    socket.write(`GET /slow HTTP/1.1\r\nhost: ${HOST}\r\n`);
    slow = { socket, answer: text(socket) };
    await eventually(async () => (await world.get(HOST, "/")).status === 200, SETTLE_MS);
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    slow.socket.destroy();
    await world.stop();
    await backend.stop();
  });

  const headersSeen = async (headers: Headers): Promise<Headers> =>
    JSON.parse((await world.get(HOST, "/", headers)).body).headers;

  test("starts without a warning", () => {
    expect(world.envoy().log()).toBe("");
  });

  test("tells backends the client's address and protocol, whatever the client says", async () => {
    const seen = await headersSeen({ "x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "https" });
    // In place of a loopback address Envoy names its own.
    expect(seen["x-forwarded-for"]).toMatch(/^192\.0\.2\.1,[^,]+$/);
    expect(seen).toMatchObject({ "x-forwarded-proto": "http", "x-envoy-external-address": LOOPBACK });
  });

  test("makes up the request id itself", async () => {
    const seen = await headersSeen({ "x-request-id": "mine" });
    expect(seen["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/);
  });

  test("lets no client set a header of Envoy's, which might be obeyed or believed", async () => {
    // From an address that Envoy would take for internal by itself.
    const asked = {
      "x-envoy-upstream-rq-timeout-ms": "1",
      "x-envoy-retry-on": "5xx",
      "x-envoy-max-retries": "9",
      "x-envoy-original-path": "/elsewhere",
      "x-envoy-external-address": "192.0.2.1",
      "x-envoy-internal": "true",
      "x-envoy-attempt-count": "7",
      X_Envoy_External_Address: "192.0.2.1",
    };
    const seen = Object.entries(await headersSeen(asked)).filter(([name]) => /^x[-_]envoy/.test(name));
    expect(Object.fromEntries(seen)).toEqual({
      "x-envoy-external-address": LOOPBACK,
      "x-envoy-expected-rq-timeout-ms": "15000",
    });
  });

  test("drops other spellings of headers that backends believe, and no other headers with underscores", async () => {
    const seen = await headersSeen({
      X_Forwarded_For: "192.0.2.1",
      "X-Forwarded_Proto": "https",
      "X-Forwarded-Client_Cert": "mine",
      X_Request_Id: "mine",
      Transfer_Encoding: "chunked",
      Content_Length: "5",
      api_key: "secret",
      "x-forwarded-host": "outside.example.com",
    });
    expect(Object.keys(seen).filter((name) => name.includes("_"))).toEqual(["api_key"]);
    expect(seen["x-forwarded-host"]).toBe("outside.example.com");
  });

  test("takes 60 KiB of headers and a hundred of them, and no more", async () => {
    const many = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`a${i}`, ""]));
    expect((await world.get(HOST, "/", many(90))).status).toBe(200);
    expect((await world.get(HOST, "/", many(110))).status).toBe(431);
    expect((await world.get(HOST, "/", { long: "x".repeat(12_000) })).status).toBe(200);
    expect((await world.get(HOST, "/", { long: "x".repeat(61 * 1024) })).status).toBe(431);
  });

  test("offers an HTTP/2 connection a hundred streams, of 256 KiB each", async () => {
    const session = connectHttp2(`http://${LOOPBACK}:${world.httpPort}`);
    const [settings] = await once(session, "remoteSettings");
    expect(settings).toMatchObject({ maxConcurrentStreams: 100, initialWindowSize: 256 * 1024 });
    session.destroy();
  });

  test("tries requests with bodies up to 1 MiB again", async () => {
    backend.play([{ status: 503 }]);
    const tries: number[] = [];
    for (const length of [100, 900_000, 2_000_000]) {
      const before = backend.requests().length;
      await post(world.httpPort, "/retried", length);
      tries.push(backend.requests().length - before);
    }
    backend.play([{ status: 200 }]);
    expect(tries).toEqual([2, 2, 1]);
  });

  test("writes a line of JSON for each request", async () => {
    await world.get(HOST, "/old/a%22b?x=1", { "user-agent": 'a "b"\\' });
    await world.get("other.example.com", "/nowhere");
    const lineOf = (path: string) =>
      eventually(
        () =>
          world
            .envoy()
            .accessLog()
            .map((line) => JSON.parse(line))
            .find((entry) => entry.path === path) ?? false,
        SETTLE_MS,
      );
    expect(await lineOf("/old/a%22b?x=1")).toMatchObject({
      method: "GET",
      host: HOST,
      protocol: "HTTP/1.1",
      status: 200,
      flags: "-",
      details: "via_upstream",
      bytes_received: 0,
      bytes_sent: expect.any(Number),
      duration_ms: expect.any(Number),
      route: "IngressRoute/default/web spec.routes[1]",
      cluster: expect.stringMatching(/^default\/web\/80\//),
      upstream: `${LOOPBACK}:${backend.port}`,
      request_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
      client: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
      listener: `${LOOPBACK}:${world.httpPort}`,
      server_name: null,
      tls_version: null,
      user_agent: 'a "b"\\',
    });
    expect(await lineOf("/nowhere")).toMatchObject({ status: 404, flags: "NR", upstream: null });
  });

  const statsOf = (path: string, method = "GET") => request({ port: statsPort, host: "any", path, method });

  test("tells apart from traffic whether it is ready and what it counts", async () => {
    expect(await statsOf("/ready")).toMatchObject({ status: 200, body: "LIVE\n" });
    const { status, body } = await statsOf("/stats/prometheus?usedonly");
    expect({ status, counts: body.includes("envoy_http_downstream_rq_total") }).toEqual({ status: 200, counts: true });
  });

  test.each([
    "/",
    "/stats",
    "/config_dump",
    "/quitquitquit",
    "/ready/",
    "/ready/../quitquitquit",
    "//ready",
    "/stats/prometheus/..",
  ])("leads to nothing else of the admin interface: %s", async (path) => {
    expect((await statsOf(path)).status).toBe(404);
    expect((await statsOf(path, "POST")).status).toBe(404);
  });

  test("leads to the admin interface by GET only", async () => {
    expect((await statsOf("/ready", "POST")).status).toBe(404);
    expect((await world.get(HOST, "/")).status).toBe(200);
  });

  test("gives up on a client that does not end its headers", async () => {
    expect(await slow.answer).toMatch(/^HTTP\/1\.1 408 /);
  });
});

describeWithEnvoy("an Envoy at its limits", (binary) => {
  const startLimited = async (limits: { readonly maxConnections?: number; readonly maxHeapMib?: number }) => {
    const statsPort = await freePort();
    const edge = { stats: { address: LOOPBACK, port: statsPort }, limits };
    const world = await startWorld({ binary, edge });
    await world.apply(objects(ROOT + serviceYaml("web")));
    return { world, ready: () => request({ port: statsPort, host: "any", path: "/ready" }) };
  };
  const outcome = (reply: Promise<Reply>) =>
    reply.then(
      ({ status }) => status,
      () => "closed",
    );

  test("closes connections above the limit, and still tells that it is ready", async () => {
    const { world, ready } = await startLimited({ maxConnections: 2 });
    try {
      const held = [connect(world.httpPort, LOOPBACK), connect(world.httpPort, LOOPBACK)];
      await eventually(async () => {
        const active = await world.envoy().stats("^http.http.downstream_cx_active$");
        return active.get("http.http.downstream_cx_active") === 2;
      }, SETTLE_MS);
      expect(await outcome(world.get(HOST, "/"))).toBe("closed");
      expect((await ready()).status).toBe(200);
      for (const socket of held) socket.destroy();
      await eventually(async () => (await outcome(world.get(HOST, "/"))) === 200, SETTLE_MS);
    } finally {
      await world.stop();
    }
  });

  test("accepts nothing when there is no memory left, and still tells that it is ready", async () => {
    const { world, ready } = await startLimited({ maxHeapMib: 1 });
    try {
      await eventually(async () => {
        const name = "overload.envoy.overload_actions.stop_accepting_connections.active";
        return (await world.envoy().stats(`^${name}$`)).get(name) === 1;
      }, SETTLE_MS);
      const socket = connect(world.httpPort, LOOPBACK);
      socket.write(`GET / HTTP/1.1\r\nhost: ${HOST}\r\nconnection: close\r\n\r\n`);
      expect((await ready()).status).toBe(200);
      expect((await world.envoy().stats("^http.http.downstream_cx_total$")).get("http.http.downstream_cx_total")).toBe(
        0,
      );
      socket.destroy();
    } finally {
      await world.stop();
    }
  });
});

/** A POST with a body of this many bytes; resolves when it is answered. */
async function post(port: number, path: string, length: number): Promise<void> {
  const session = connectHttp2(`http://${LOOPBACK}:${port}`);
  const stream = session.request({ ":method": "POST", ":path": path, ":authority": HOST });
  stream.end(Buffer.alloc(length));
  await once(stream, "response");
  session.destroy();
}
