import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createRegistry, fromJson } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { BootstrapSchema } from "#proto/envoy/config/bootstrap/v3/bootstrap_pb.js";
import { ScaleTimersOverloadActionConfigSchema } from "#proto/envoy/config/overload/v3/overload_pb.js";
import { RouterSchema } from "#proto/envoy/extensions/filters/http/router/v3/router_pb.js";
import { HttpConnectionManagerSchema } from "#proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { DownstreamConnectionsConfigSchema } from "#proto/envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections_pb.js";
import { FixedHeapConfigSchema } from "#proto/envoy/extensions/resource_monitors/fixed_heap/v3/fixed_heap_pb.js";
import { UpstreamTlsContextSchema } from "#proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { HttpProtocolOptionsSchema } from "#proto/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import { type BootstrapOptions, bootstrap, type JsonObject } from "../../src/envoy/bootstrap.ts";
import { LIMITS, startEnvoy } from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";

const OPTIONS: BootstrapOptions = {
  xdsAddress: "isoline.ingress",
  xdsPort: 8001,
  tls: { certFile: "/certs/tls.crt", keyFile: "/certs/tls.key", caFile: "/certs/ca.crt" },
  admin: { pipe: "@admin" },
  stats: { address: "127.0.0.1", port: 8002 },
  limits: LIMITS,
  nodeId: "envoy-1",
};

test("a bootstrap is a message that Envoy knows, with TLS and without", () => {
  const registry = createRegistry(
    UpstreamTlsContextSchema,
    HttpProtocolOptionsSchema,
    HttpConnectionManagerSchema,
    RouterSchema,
    FixedHeapConfigSchema,
    DownstreamConnectionsConfigSchema,
    ScaleTimersOverloadActionConfigSchema,
  );
  const { tls: _, ...withoutTls } = OPTIONS;
  for (const options of [OPTIONS, withoutTls]) {
    // A copy, because fromJson wants a value that it might change.
    const message = fromJson(BootstrapSchema, JSON.parse(JSON.stringify(bootstrap(options))), { registry });
    const [xds] = message.staticResources?.clusters ?? [];
    expect(xds?.transportSocket?.name).toBe("tls" in options ? "envoy.transport_sockets.tls" : undefined);
  }
});

test("an address is resolved only when it is a name", () => {
  const { stats: _, ...withoutStats } = OPTIONS;
  const typeOf = (xdsAddress: string) =>
    JSON.stringify(bootstrap({ ...withoutStats, xdsAddress })).includes('"STATIC"');
  expect(["isoline.ingress", "10.0.0.1", "::1", "fd00::1"].map(typeOf)).toEqual([false, true, true, true]);
});

describeWithEnvoy("the bootstrap's counters", (binary) => {
  test("of a cluster hold only whether Envoy refused something, of the rest all", async () => {
    const folder = await mkdtemp(join(tmpdir(), "isoline-bootstrap-"));
    const fromFile = async (file: string, type: string, resources: readonly JsonObject[]): Promise<JsonObject> => {
      const path = join(folder, file);
      const typed = resources.map((resource) => ({ "@type": `type.googleapis.com/${type}`, ...resource }));
      await writeFile(path, JSON.stringify({ version_info: "1", resources: typed }));
      return { path_config_source: { path }, resource_api_version: "V3" };
    };
    const eds = await fromFile("eds", "envoy.config.endpoint.v3.ClusterLoadAssignment", [{ cluster_name: "another" }]);
    const srds = await fromFile("srds", "envoy.config.route.v3.ScopedRouteConfiguration", [invalidScope()]);
    const cds = await fromFile("cds", "envoy.config.cluster.v3.Cluster", [edsCluster(eds)]);
    const lds = await fromFile("lds", "envoy.config.listener.v3.Listener", [scopedListener(srds)]);

    const envoy = await startEnvoy({
      binary,
      config: (admin) => {
        const config = bootstrap({ xdsAddress: "127.0.0.1", xdsPort: 1, admin, limits: LIMITS, nodeId: "test" });
        return { ...config, dynamic_resources: { cds_config: cds, lds_config: lds } };
      },
    });
    try {
      expect(await envoy.rejected()).toBe(2);
      expect([...(await envoy.stats("update_rejected$"))]).toEqual([
        ["cluster.default/web/80/1.update_rejected", 1],
        ["cluster_manager.cds.update_rejected", 0],
        ["http.ingress.scoped_rds.hosts.update_rejected", 1],
        ["listener_manager.lds.update_rejected", 0],
      ]);
      expect([...(await envoy.stats("^cluster.default/"))]).toHaveLength(1);
      const others = await envoy.stats("");
      for (const name of ["http.ingress.downstream_rq_total", "cluster_manager.warming_clusters", "server.live"]) {
        expect([...others.keys()]).toContain(name);
      }
    } finally {
      await envoy.stop();
      await rm(folder, { recursive: true });
    }
  });
});

function edsCluster(eds: JsonObject): JsonObject {
  return {
    name: "default/web/80/1",
    type: "EDS",
    eds_cluster_config: { service_name: "default/web/http", eds_config: eds },
  };
}

function invalidScope(): JsonObject {
  const virtualHost = { name: "all", domains: ["*"] };
  return {
    name: "h|shop.example.com",
    key: { fragments: [{ string_key: "h|shop.example.com" }] },
    route_configuration: { name: "shop", virtual_hosts: [virtualHost, { ...virtualHost, name: "all again" }] },
  };
}

function scopedListener(srds: JsonObject): JsonObject {
  const filters = "type.googleapis.com/envoy.extensions.filters";
  const manager = {
    "@type": `${filters}.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "ingress",
    scoped_routes: {
      name: "hosts",
      scope_key_builder: { fragments: [{ header_value_extractor: { name: "x-scope", index: 0 } }] },
      rds_config_source: srds,
      scoped_rds: { scoped_rds_config_source: srds },
    },
    http_filters: [{ name: "router", typed_config: { "@type": `${filters}.http.router.v3.Router` } }],
  };
  return {
    name: "http",
    address: { socket_address: { address: "127.0.0.1", port_value: 0 } },
    filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
  };
}
