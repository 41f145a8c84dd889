import type { MessageInitShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import * as grpc from "@grpc/grpc-js";
import { afterEach, describe, expect, test } from "vitest";
import {
  DeltaDiscoveryRequestSchema,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  type DeltaDiscoveryRequestSchema as RequestSchema,
} from "#proto/envoy/service/discovery/v3/discovery_pb.js";
import { Cache } from "../../src/xds/cache.ts";
import { AddressInUseError, type ServerReport, XdsServer } from "../../src/xds/server.ts";
import { TYPE_URLS } from "../../src/xds/type-urls.ts";
import { assignment, edsCluster, renameSecret, resource, scope } from "./resources.ts";

const PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService/";
const identity = (bytes: Buffer) => bytes;

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

type TestServer = {
  readonly server: XdsServer;
  readonly cache: Cache;
  readonly port: number;
  readonly reports: ServerReport[];
};

async function serve(rename: typeof renameSecret = renameSecret): Promise<TestServer> {
  const cache = new Cache();
  const reports: ServerReport[] = [];
  const server = new XdsServer({
    cache,
    credentials: grpc.ServerCredentials.createInsecure(),
    renameSecret: rename,
    now: () => 42,
    stopMs: 200,
    onReport: (report) => reports.push(report),
  });
  const port = await server.start("127.0.0.1", 0);
  closers.push(() => server.stop());
  return { server, cache, port, reports };
}

/** A plain client of the protocol that shows what arrives as promises. */
class TestClient {
  readonly received: DeltaDiscoveryResponse[] = [];
  readonly status: Promise<grpc.StatusObject>;
  readonly call: grpc.ClientDuplexStream<Buffer, Buffer>;
  readonly #waiting: (() => void)[] = [];

  constructor(port: number, method = "DeltaAggregatedResources") {
    const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
    this.call = client.makeBidiStreamRequest(`${PATH}${method}`, identity, identity);
    this.call.on("data", (bytes: Buffer) => {
      this.received.push(fromBinary(DeltaDiscoveryResponseSchema, bytes));
      for (const wake of this.#waiting.splice(0)) wake();
    });
    this.status = new Promise((resolve) => this.call.on("status", resolve));
    // The status says the same.
    this.call.on("error", () => undefined);
    closers.push(() => {
      this.call.cancel();
      client.close();
    });
  }

  send(init: MessageInitShape<typeof RequestSchema>): void {
    const request = create(DeltaDiscoveryRequestSchema, init);
    this.call.write(Buffer.from(toBinary(DeltaDiscoveryRequestSchema, request)));
  }

  ack({ typeUrl, nonce }: DeltaDiscoveryResponse): void {
    this.send({ typeUrl, responseNonce: nonce });
  }

  /** Resolves to the n-th response of the stream, counted from 0. */
  async response(n: number): Promise<DeltaDiscoveryResponse> {
    for (;;) {
      const response = this.received[n];
      if (response !== undefined) return response;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

function names({ resources }: DeltaDiscoveryResponse): readonly string[] {
  return resources.map(({ name }) => name);
}

describe("xDS server", () => {
  test("a client gets clusters, their load assignments and, once it has taken these, the scopes", async () => {
    const { server, cache, port } = await serve();
    cache.apply({ set: [edsCluster("a"), assignment("a"), scope("s", ["a"])], removed: [] });
    cache.ready();
    const client = new TestClient(port);
    client.send({ typeUrl: TYPE_URLS.cluster, node: { id: "envoy-1" } });
    client.send({ typeUrl: TYPE_URLS.scopedRoute });
    const clusters = await client.response(0);
    expect(names(clusters)).toEqual(["a"]);
    expect(clusters.resources[0]?.resource).toMatchObject({
      typeUrl: TYPE_URLS.cluster,
      value: Buffer.from(edsCluster("a").body),
    });
    client.send({ typeUrl: TYPE_URLS.loadAssignment, resourceNamesSubscribe: ["a"] });
    const assignments = await client.response(1);
    expect(assignments.typeUrl).toBe(TYPE_URLS.loadAssignment);
    client.ack(assignments);
    const scopes = await client.response(2);
    expect(names(scopes)).toEqual(["s"]);

    expect(server.acceptances("scopedRoute", "s")).toMatchObject([{ acceptance: { kind: "pending" } }]);
    client.ack(scopes);
    await until(() => server.acceptances("scopedRoute", "s")[0]?.acceptance.kind === "accepted");
    expect(server.envoys()).toMatchObject([{ nodeId: "envoy-1", connectedAt: 42 }]);
    expect(server.envoys()[0]?.types).toContainEqual({ type: "scopedRoute", sent: 1, accepted: 1, refused: [] });
  });

  test("a scope follows its cluster's health checks when their time is up, without a word from the client", async () => {
    const { cache, port } = await serve();
    const checked = resource("cluster", "a", { rev: 1, loadAssignment: "a", firstCheckMs: 1 });
    cache.apply({ set: [checked, assignment("a"), scope("s", ["a"])], removed: [] });
    cache.ready();
    const client = new TestClient(port);
    client.send({ typeUrl: TYPE_URLS.cluster });
    client.send({ typeUrl: TYPE_URLS.loadAssignment, resourceNamesSubscribe: ["a"] });
    client.send({ typeUrl: TYPE_URLS.scopedRoute });
    client.ack(await client.response(1));
    expect(names(await client.response(2))).toEqual(["s"]);
  });

  test("a refusal is shown for the Envoy that said it", async () => {
    const { server, cache, port, reports } = await serve();
    cache.apply({ set: [scope("bad", [])], removed: [] });
    cache.ready();
    const client = new TestClient(port);
    client.send({ typeUrl: TYPE_URLS.scopedRoute });
    const { nonce } = await client.response(0);
    client.send({ typeUrl: TYPE_URLS.scopedRoute, responseNonce: nonce, errorDetail: { message: "no such regex" } });
    await until(() => reports.some(({ kind }) => kind === "refused"));
    expect(server.acceptances("scopedRoute", "bad")).toMatchObject([
      { acceptance: { kind: "refused", message: "no such regex" } },
    ]);
    const status = server.envoys()[0]?.types.find(({ type }) => type === "scopedRoute");
    expect(status?.refused).toMatchObject([
      { name: "bad", message: "no such regex", origins: ["IngressRoute/default/bad"] },
    ]);
  });

  test("all changes of one turn are one response", async () => {
    const { server, cache, port } = await serve();
    cache.ready();
    const clients = Array.from({ length: 5 }, () => new TestClient(port));
    for (const client of clients) client.send({ typeUrl: TYPE_URLS.scopedRoute });
    for (const client of clients) client.ack(await client.response(0));
    for (let n = 0; n < 20; n++) cache.apply({ set: [scope(`s${n}`, [])], removed: [] });
    for (const client of clients) expect(names(await client.response(1))).toHaveLength(20);
    expect(server.counters()).toMatchObject({ resources: 100, responses: 10 });
  });

  test("state of the world is refused with the setting to change", async () => {
    const { port } = await serve();
    const { code, details } = await new TestClient(port, "StreamAggregatedResources").status;
    expect({ code, details }).toEqual({
      code: grpc.status.UNIMPLEMENTED,
      details: "only delta xDS is served: set api_type to DELTA_GRPC",
    });
  });

  test("a stream tells what is pending, and how it ended", async () => {
    const { server, cache, port, reports } = await serve();
    cache.apply({ set: [edsCluster("a"), scope("s", ["a"]), scope("t", [])], removed: [] });
    cache.ready();
    const client = new TestClient(port);
    client.send({ typeUrl: TYPE_URLS.scopedRoute });
    const scopes = await client.response(0);
    expect(names(scopes)).toEqual(["t"]);
    // One is unanswered, and one waits for its cluster.
    expect(server.streams()).toMatchObject([{ silentMs: expect.any(Number), pending: { scopedRoute: 2, cluster: 0 } }]);
    client.ack(scopes);
    await until(() => server.streams()[0]?.pending.scopedRoute === 1);

    const endings = () => reports.flatMap((report) => (report.kind === "disconnected" ? [report.reason] : []));
    client.call.end();
    await until(() => endings().length === 1);
    const cut = new TestClient(port);
    cut.send({ typeUrl: TYPE_URLS.scopedRoute });
    await cut.response(0);
    cut.call.cancel();
    await until(() => endings().length === 2);
    const last = new TestClient(port);
    last.send({ typeUrl: TYPE_URLS.scopedRoute });
    await last.response(0);
    await server.stop();
    expect(endings()).toEqual(["ended", "ended", "stopped"]);
    expect(server.streams()).toEqual([]);
  });

  test("a message that is no request ends its stream and no other", async () => {
    const { cache, port, server, reports } = await serve();
    cache.ready();
    const good = new TestClient(port);
    good.send({ typeUrl: TYPE_URLS.cluster });
    await good.response(0);
    const bad = new TestClient(port);
    bad.call.write(Buffer.from([0xff, 0xff, 0xff]));
    expect((await bad.status).code).toBe(grpc.status.INVALID_ARGUMENT);
    expect(reports.map(({ kind }) => kind)).toContain("malformed");
    cache.apply({ set: [resource("cluster", "a", { rev: 1 })], removed: [] });
    expect(names(await good.response(1))).toEqual(["a"]);
    expect(server.envoys()).toHaveLength(1);
  });

  test("a name that is no text is asked for in vain, and its stream goes on", async () => {
    const { cache, port, server } = await serve();
    cache.ready();
    const client = new TestClient(port);
    const request = new BinaryWriter()
      .tag(2, WireType.LengthDelimited)
      .string(TYPE_URLS.secret)
      .tag(3, WireType.LengthDelimited)
      .bytes(Uint8Array.from([0xff]));
    client.call.write(Buffer.from(request.finish()));
    client.send({ typeUrl: TYPE_URLS.secret, resourceNamesSubscribe: ["x"] });
    expect((await client.response(0)).removedResources).toEqual(["x"]);
    expect(server.envoys()).toHaveLength(1);
  });

  test("an exception in one stream ends that stream, is reported as a bug, and leaves the others alone", async () => {
    const { cache, port, reports } = await serve(() => {
      throw new Error("cannot rename");
    });
    cache.apply({ set: [resource("secret", "host", { rev: 1 })], removed: [] });
    cache.ready();
    const bad = new TestClient(port);
    bad.send({ typeUrl: TYPE_URLS.secret, resourceNamesSubscribe: ["HOST"] });
    expect((await bad.status).code).toBe(grpc.status.INTERNAL);
    expect(reports).toContainEqual(expect.objectContaining({ kind: "bug", error: new Error("cannot rename") }));
    const good = new TestClient(port);
    good.send({ typeUrl: TYPE_URLS.secret, resourceNamesSubscribe: ["host"] });
    expect(names(await good.response(0))).toEqual(["host"]);
  });

  test("a client that does not read costs a bounded number of responses, and gets the last state when it does", async () => {
    const { server, cache, port } = await serve();
    const big = (rev: number) => ({ ...resource("secret", "host", { rev }), body: new Uint8Array(500_000).fill(rev) });
    cache.apply({ set: [big(0)], removed: [] });
    cache.ready();
    const client = new TestClient(port);
    client.call.pause();
    for (let n = 0; n < 100; n++) client.send({ typeUrl: TYPE_URLS.secret, resourceNamesSubscribe: ["host"] });
    client.send({ typeUrl: TYPE_URLS.cluster, node: { id: "last" } });
    await until(() => server.envoys()[0]?.nodeId === "last");
    expect(server.counters().responses).toBeLessThan(30);
    cache.apply({ set: [big(1)], removed: [] });
    client.call.resume();
    await until(() => client.received.some(({ resources }) => resources[0]?.version === big(1).version));
  });

  test("a request far above 4 MB is read: a reconnecting Envoy names all that it holds", async () => {
    const { cache, port } = await serve();
    cache.ready();
    const client = new TestClient(port);
    const initialResourceVersions: Record<string, string> = {};
    for (let n = 0; n < 75_000; n++)
      initialResourceVersions[`h|host-${n}.a-long-domain.example.com`] = `${"v".repeat(40)}${n}`;
    client.send({ typeUrl: TYPE_URLS.scopedRoute, initialResourceVersions });
    const response = await client.response(0);
    expect(response.removedResources.length).toBeGreaterThan(10_000);
  });

  test("a port in use has an error of its own", async () => {
    const { port } = await serve();
    const second = new XdsServer({
      cache: new Cache(),
      credentials: grpc.ServerCredentials.createInsecure(),
      renameSecret,
      now: () => 0,
      stopMs: 0,
      onReport: () => undefined,
    });
    await expect(second.start("127.0.0.1", port)).rejects.toBeInstanceOf(AddressInUseError);
    await second.stop();
  });

  test("stop ends the streams, so that Envoys go elsewhere", async () => {
    const { server, cache, port } = await serve();
    cache.ready();
    const client = new TestClient(port);
    client.send({ typeUrl: TYPE_URLS.cluster });
    await client.response(0);
    await server.stop();
    expect((await client.status).code).toBe(grpc.status.UNAVAILABLE);
    expect(server.envoys()).toEqual([]);
  });
});
