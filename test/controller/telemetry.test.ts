import { expect, test } from "vitest";
import { Telemetry } from "../../src/controller/telemetry.ts";
import type { StreamLoad } from "../../src/xds/server.ts";

test("the streams to Envoys can be watched: how they end, what is refused, silent or pending", async () => {
  const telemetry = new Telemetry();
  const envoy = { nodeId: "envoy-1", address: "10.0.0.1:5000", connectedAt: 0 };
  const none = { cluster: 0, loadAssignment: 0, listener: 0, scopedRoute: 0, secret: 0 };
  let streams: readonly StreamLoad[] = [
    { envoy, silentMs: 1500, pending: { ...none, listener: 1 } },
    { envoy: { ...envoy, nodeId: "" }, silentMs: 0, pending: none },
  ];
  const count = telemetry.xds(() => streams);
  count({ envoy, kind: "connected" });
  count({ envoy, kind: "connected" });
  count({ envoy, kind: "disconnected", reason: "ended" });
  count({ envoy, kind: "retried", type: "scopedRoute", resources: 2, message: "bad" });
  count({ envoy, kind: "sent", type: "cluster", set: ["a", "b"], removed: ["c"], bytes: 1 });
  const refused = {
    kind: "refused",
    type: "scopedRoute",
    name: "s",
    version: "v",
    origins: [],
    message: "bad",
  } as const;
  count({ envoy, ...refused });
  const lines = async () => (await telemetry.registry.metrics()).split("\n");
  expect(await lines()).toEqual(
    expect.arrayContaining([
      "isoline_xds_streams_opened_total 2",
      'isoline_xds_streams_ended_total{reason="ended"} 1',
      'isoline_xds_sent_resources_total{type="cluster"} 2',
      'isoline_xds_nacks_total{type="scopedRoute"} 2',
      'isoline_xds_refused_resources_total{type="scopedRoute"} 1',
      'isoline_xds_silence_seconds{envoy="envoy-1"} 1.5',
      'isoline_xds_pending_resources{envoy="envoy-1",type="listener"} 1',
      'isoline_xds_pending_resources{envoy="10.0.0.1:5000",type="listener"} 0',
    ]),
  );
  streams = [];
  expect((await lines()).filter((line) => line.includes("envoy-1"))).toEqual([]);
});
