import { Client, credentials, ServerCredentials } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { envoyTeller } from "../../src/controller/envoy-log.ts";
import { runController } from "../../src/controller/run.ts";
import type { ServerReport } from "../../src/xds/server.ts";
import { eventually } from "../envoy/harness.ts";
import { DEFAULT_SETTINGS } from "../settings.ts";
import { logOfLines } from "./log-lines.ts";

const SOON_MS = 20_000;
const COUNT = 200;

test("who connects to the xDS port again and again, and is no Envoy, does not fill the log", async () => {
  const { log, lines } = logOfLines();
  const running = await runController({
    settings: DEFAULT_SETTINGS,
    xds: { address: "127.0.0.1", port: 0, credentials: ServerCredentials.createInsecure() },
    http: { address: "127.0.0.1", port: 0 },
    source: () => ({ start: () => {}, stop: async () => {}, locate: () => undefined }),
    log,
    now: () => 0,
  });
  const client = new Client(`127.0.0.1:${running.xdsPort}`, credentials.createInsecure());
  let ended = 0;
  for (let i = 0; i < COUNT; i++) {
    const call = client.makeBidiStreamRequest(
      "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
      (bytes: Buffer) => bytes,
      (bytes: Buffer) => bytes,
    );
    call.on("error", () => {}).on("status", () => ended++);
    call.resume().write(Buffer.from("not a request"));
  }
  await eventually(() => ended === COUNT, SOON_MS);
  client.close();
  await running.stop();
  const counts = new Map<unknown, number>();
  for (const { msg } of lines) counts.set(msg, (counts.get(msg) ?? 0) + 1);
  const full = "more of this kind is to be said of Envoys than is logged; /api/envoys and the metrics tell what holds";
  expect(Object.fromEntries(counts)).toEqual({
    "an Envoy has connected": 60,
    "not an Envoy": 60,
    "an Envoy has disconnected": 60,
    [full]: 3,
  });
});

test("lines of one kind are not in the way of another, and names are cut", () => {
  const { log, lines } = logOfLines();
  const tell = envoyTeller(log, () => 0);
  const envoy = { nodeId: "e".repeat(10_000), address: "192.0.2.1:1", connectedAt: 0 };
  const unknown: ServerReport = { envoy, kind: "unknownType", typeUrl: "t".repeat(10_000) };
  for (let i = 0; i < 100; i++) tell(unknown);
  expect(lines).toHaveLength(61);
  expect(lines[0]).toMatchObject({ envoy: "e".repeat(200), type: "t".repeat(200) });
  tell({
    envoy,
    kind: "refused",
    type: "cluster",
    name: "c",
    version: "1",
    message: "no",
    origins: ["IngressRoute/n/r"],
  });
  expect(lines[61]).toMatchObject({ resource: "c", message: "no" });
});
