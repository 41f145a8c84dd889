import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { withCertificates } from "../cases.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { type Scripted, startScripted } from "../parts/backends.ts";
import { requestHttps } from "../parts/clients.ts";
import { eventually, freePort, type Reply, request } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";
import { startWorld, type World } from "./world.ts";

const LOOPBACK = "127.0.0.1";
const SETTLE_MS = 5000;
const HOST = "web.example.com";
const ONE_ADDRESS = /^[^,]+$/;
const ROOT = rootYaml(
  "web",
  HOST,
  `[{ match: /, services: [{ name: web, port: 80 }] },
    { match: /old, prefixRewrite: /new, services: [{ name: web, port: 80 }] },
    { match: /retried, retryPolicy: { count: 1 }, services: [{ name: web, port: 80 }] }]`,
);

const SECURE_HOST = "secure.example.com";
const SECURE_ROOT = withCertificates(`---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: secure }
spec:
  virtualhost: { fqdn: ${SECURE_HOST}, tls: { secretName: secure } }
  routes: [{ match: /, permitInsecure: true, services: [{ name: web, port: 80 }] }]
---
apiVersion: v1
kind: Secret
metadata: { name: secure }
type: kubernetes.io/tls
stringData: { tls.crt: <certificate ${SECURE_HOST}>, tls.key: <key ${SECURE_HOST}> }
`);

/** What proxies tell backends about clients, and what a client may say it is. */
const FORGED: Headers = {
  "x-forwarded-for": "192.0.2.1",
  "x-forwarded-host": "outside.example.com",
  "x-forwarded-port": "1234",
  "x-forwarded-proto": "gopher",
  "x-forwarded-scheme": "gopher",
  "x-forwarded-prefix": "/outside",
  "x-forwarded-user": "root",
  forwarded: "for=192.0.2.1;proto=gopher;host=outside.example.com",
  "forwarded-for": "192.0.2.1",
  "x-real-ip": "192.0.2.1",
  "x-client-ip": "192.0.2.1",
  "x-cluster-client-ip": "192.0.2.1",
  "client-ip": "192.0.2.1",
  "true-client-ip": "192.0.2.1",
  "x-scheme": "gopher",
  "x-url-scheme": "gopher",
  "front-end-https": "on",
  "x-original-url": "/outside",
  "x-original-uri": "/outside",
  "x-original-host": "outside.example.com",
  "x-rewrite-url": "/outside",
};

/** The same in spellings that some backends take for the same: see {@link FORGED}. */
const MISSPELT: Headers = Object.fromEntries(
  Object.entries(FORGED).flatMap(([name, value]) => [
    [name.replaceAll("-", "_"), value],
    [name.replace(/-([^-]*)$/, "_$1"), value],
    [name.replace("-", "_"), value],
  ]),
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
    await world.apply(objects(ROOT + SECURE_ROOT + serviceYaml("web", backend.port)));
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

  test.each(["http", "https"])(
    "tells backends the client's address and protocol, whatever the client says: %s",
    async (scheme) => {
      const names = [...Object.keys(FORGED), ...Object.keys(MISSPELT)];
      for (const forged of [{}, FORGED, MISSPELT]) {
        const seen = await headersOf(world, scheme, forged);
        const kept = Object.fromEntries(Object.entries(seen).filter(([name]) => names.includes(name)));
        // In place of a loopback address Envoy names its own.
        expect(kept).toEqual({ "x-forwarded-for": expect.stringMatching(ONE_ADDRESS), "x-forwarded-proto": scheme });
        expect(seen).toMatchObject({ "x-envoy-external-address": LOOPBACK });
      }
    },
  );

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
      X_Isoline_Scope: "mine",
      "X-Isoline_Scope": "mine",
      Transfer_Encoding: "chunked",
      Content_Length: "5",
      api_key: "secret",
    });
    expect(Object.keys(seen).filter((name) => name.includes("_"))).toEqual(["api_key"]);
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

describeWithEnvoy("an Envoy behind a proxy that is trusted", (binary) => {
  let world: World;
  let backend: Scripted;
  beforeAll(async () => {
    backend = await startScripted({ name: "web" });
    world = await startWorld({ binary, echo: false, envoy: { trustedHops: 1 } });
    await world.apply(objects(SECURE_ROOT + serviceYaml("web", backend.port)));
    await eventually(async () => (await world.get(SECURE_HOST, "/")).status === 200, SETTLE_MS);
  });
  afterAll(async () => {
    expect(await world.envoy().rejected()).toBe(0);
    await world.stop();
    await backend.stop();
  });

  test.each(["http", "https"])("passes on what the proxy says of the client: %s", async (scheme) => {
    const told = { ...FORGED, "x-forwarded-proto": "https" };
    const seen = await headersOf(world, scheme, { ...told, "x-forwarded-for": "192.0.2.1, 203.0.113.7" });
    expect(seen).toMatchObject({
      ...told,
      "x-forwarded-for": expect.stringMatching(/^192\.0\.2\.1, ?203\.0\.113\.7,[^,]+$/),
      "x-envoy-external-address": "203.0.113.7",
    });
  });

  test("tells by itself what the proxy leaves out", async () => {
    expect(await headersOf(world, "https", {})).toMatchObject({
      "x-forwarded-for": expect.stringMatching(ONE_ADDRESS),
      "x-forwarded-proto": "https",
      "x-envoy-external-address": LOOPBACK,
    });
  });

  test("takes from nobody what is Envoy's own, nor other spellings of anything", async () => {
    const seen = await headersOf(world, "http", { "x-envoy-original-path": "/elsewhere", ...MISSPELT });
    expect(Object.keys(seen).filter((name) => name.includes("_") || name === "x-envoy-original-path")).toEqual([]);
  });

  test("writes the client's address into the access log", async () => {
    await headersOf(world, "http", { "x-forwarded-for": "203.0.113.9" });
    await eventually(
      () =>
        world
          .envoy()
          .accessLog()
          .some((line) => /^203\.0\.113\.9:/.test(JSON.parse(line).client)),
      SETTLE_MS,
    );
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

/** What a backend of {@link SECURE_HOST} sees of a request. */
async function headersOf({ httpsPort, get }: World, scheme: string, headers: Headers): Promise<Headers> {
  const secure = { port: httpsPort, sni: SECURE_HOST, host: SECURE_HOST, headers };
  const { body } = scheme === "https" ? await requestHttps(secure) : await get(SECURE_HOST, "/", headers);
  return JSON.parse(body).headers;
}

/** A POST with a body of this many bytes; resolves when it is answered. */
async function post(port: number, path: string, length: number): Promise<void> {
  const session = connectHttp2(`http://${LOOPBACK}:${port}`);
  const stream = session.request({ ":method": "POST", ":path": path, ":authority": HOST });
  stream.end(Buffer.alloc(length));
  await once(stream, "response");
  session.destroy();
}
