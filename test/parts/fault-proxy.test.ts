import { createServer } from "node:https";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../envoy/harness.ts";
import { createAuthority } from "./authority.ts";
import { type FaultProxy, isWatch, startFaultProxy } from "./fault-proxy.ts";
import { KubeAdmin } from "./kube-admin.ts";
import { type Listening, listening } from "./listening.ts";

const WAIT_MS = 10_000;
const EVENT_MS = 10;
const LIST = { metadata: { resourceVersion: "1" }, items: [], padding: "x".repeat(20_000) };

let server: Listening;
let proxy: FaultProxy;
let client: KubeAdmin;
/** The requests that came as far as the server, by method. */
let received: string[];

/** A server that answers each GET with the same list, and each watch with an event every few milliseconds. */
beforeEach(async () => {
  received = [];
  const authority = createAuthority("server");
  const { certPem, keyPem } = authority.issue({ names: ["127.0.0.1"] });
  server = await listening(
    createServer({ cert: certPem, key: keyPem }, (incoming, response) => {
      received.push(incoming.method ?? "");
      if (incoming.method === "PATCH") {
        incoming.pipe(response);
      } else if (incoming.url?.includes("watch=true")) {
        const timer = setInterval(() => response.write(`${JSON.stringify({ type: "ADDED", object: {} })}\n`), EVENT_MS);
        response.on("close", () => clearInterval(timer));
      } else {
        response.end(JSON.stringify(LIST));
      }
    }),
  );
  proxy = await startFaultProxy({ url: `https://127.0.0.1:${server.port}`, caPem: authority.rootPem });
  client = new KubeAdmin({ url: proxy.url, caPem: proxy.caPem, token: "token" });
});
afterEach(async () => {
  await client.close();
  await proxy.stop();
  await server.stop();
});

/** Reads a watch in the background. */
function watching(): { readonly events: () => number; readonly isOver: () => boolean } {
  let events = 0;
  let isOver = false;
  const read = async () => {
    for await (const _ of client.watch("Secret")) events++;
  };
  const over = () => {
    isOver = true;
  };
  // How a watch ends is not what these tests are about.
  read().then(over, over);
  return { events: () => events, isOver: () => isOver };
}

/** Waits until the events stay the same for longer than the server is silent. */
async function untilStill(events: () => number): Promise<void> {
  const MANY = 10;
  let last = events();
  let since = performance.now();
  await eventually(() => {
    if (events() !== last) since = performance.now();
    last = events();
    return performance.now() - since > MANY * EVENT_MS;
  }, WAIT_MS);
}

test("hands on what no fault is about, and remembers it", async () => {
  expect(await client.list("Secret", "default", { limit: "5" })).toEqual(LIST);
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { namespace: "default", name: "a" } };
  expect(await client.apply(secret)).toEqual(secret);
  const watch = watching();
  await eventually(() => watch.events() > 2, WAIT_MS);
  expect(proxy.requests()).toEqual([
    { method: "GET", path: "/api/v1/namespaces/default/secrets", query: { limit: "5" }, status: 200 },
    expect.objectContaining({ method: "PATCH", path: "/api/v1/namespaces/default/secrets/a" }),
    { method: "GET", path: "/api/v1/secrets", query: { watch: "true" }, status: 200 },
  ]);
  expect(isWatch(proxy.requests()[2] ?? { method: "", path: "", query: {} })).toBe(true);
});

test("cuts connections, now and again", async () => {
  const first = watching();
  await eventually(() => first.events() > 0, WAIT_MS);
  proxy.cut();
  await eventually(first.isOver, WAIT_MS);
  const stop = proxy.cutEvery(50);
  for (const watch of [watching(), watching()]) await eventually(watch.isOver, WAIT_MS);
  stop();
  expect(await client.list("Secret")).toEqual(LIST);
});

test("silences connections without telling, and lets new ones through", async () => {
  const watch = watching();
  await eventually(() => watch.events() > 0, WAIT_MS);
  proxy.silence();
  await untilStill(watch.events);
  expect(watch.isOver()).toBe(false);
  const other = new KubeAdmin({ url: proxy.url, caPem: proxy.caPem, token: "token" });
  expect(await other.list("Secret")).toEqual(LIST);
  await other.close();
});

test("partitions, and delivers afterwards what was on its way", async () => {
  const watch = watching();
  await eventually(() => watch.events() > 0, WAIT_MS);
  const heal = proxy.partition();
  await untilStill(watch.events);
  const before = watch.events();
  const late = client.list("Secret"); // on a connection that is made now
  await untilStill(watch.events);
  expect(received).toEqual(["GET"]);
  heal();
  expect(await late).toEqual(LIST);
  await eventually(() => watch.events() > before + 10, WAIT_MS);
  expect(watch.isOver()).toBe(false);
});

test("answers in place of the server while it is told to", async () => {
  const watch = watching();
  await eventually(() => watch.events() > 0, WAIT_MS);
  const off = proxy.answer({ status: 429, retryAfterSeconds: 3, match: (request) => !isWatch(request) });
  await expect(client.list("Secret")).rejects.toMatchObject({ status: 429, reason: "TooManyRequests" });
  expect(received).toEqual(["GET"]);
  off();
  expect(await client.list("Secret")).toEqual(LIST);
  expect(proxy.requests().map(({ status }) => status)).toEqual([200, 429, 200]);
  expect(watch.isOver()).toBe(false);
});

test("truncates bodies that are longer", async () => {
  const length = JSON.stringify(LIST).length;
  const off = proxy.truncate({ afterBytes: length - 1 });
  await expect(client.list("Secret")).rejects.toThrow(/closed|terminated|aborted/i);
  off();
  proxy.truncate({ afterBytes: length });
  expect(await client.list("Secret")).toEqual(LIST);
});

test("lets bodies trickle until it is told to stop", async () => {
  const off = proxy.slow({ bytesPerSecond: 1_000 }); // twenty seconds for the list
  let isDone = false;
  const list = client.list("Secret").then((answer) => {
    isDone = true;
    return answer;
  });
  await eventually(() => proxy.requests().length === 1, WAIT_MS);
  await client.text({ method: "PATCH", path: "/", body: "short" });
  expect(isDone).toBe(false);
  off();
  expect(await list).toEqual(LIST);
});

test("breaks off when there is no server", async () => {
  await server.stop();
  await expect(client.list("Secret")).rejects.toThrow(/closed|reset/i);
});
