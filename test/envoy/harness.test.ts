import { afterAll, beforeAll, expect, test } from "vitest";
import type { JsonObject } from "../../src/envoy/bootstrap.ts";
import {
  type Backends,
  type Envoy,
  echo,
  eventually,
  freePort,
  request,
  startBackends,
  startEnvoy,
} from "./harness.ts";
import { describeWithEnvoy } from "./suite.ts";

describeWithEnvoy("the harness", (binary) => {
  let backends: Backends;
  let envoy: Envoy;
  let port: number;

  beforeAll(async () => {
    backends = await startBackends([
      { service: "default/web", port: 80 },
      { service: "default/web", port: 8080 },
    ]);
    port = await freePort();
    envoy = await startEnvoy({
      binary,
      config: ({ pipe }) => ({
        admin: { address: { pipe: { path: pipe } } },
        static_resources: {
          listeners: [httpListener(port)],
          clusters: [staticCluster(backends.listeningPort("default/web", 8080))],
        },
      }),
    });
  });

  afterAll(async () => {
    await envoy?.stop();
    await backends?.stop();
  });

  test("sends a request as it stands through Envoy to the backend that was asked for", async () => {
    const reply = await request({ port, host: "Shop.Example.COM", path: "/a/../b?c", headers: { "x-test": "1" } });
    expect(reply.status).toBe(200);
    const seen = echo(reply);
    expect(seen).toMatchObject({ service: "default/web", port: 8080, method: "GET", path: "/a/../b?c" });
    expect(seen.headers).toMatchObject({ host: "Shop.Example.COM", "x-test": "1" });
  });

  test("reads counters and the configuration", async () => {
    await eventually(async () => {
      expect((await envoy.stats("^http.test.downstream_rq_2xx$")).get("http.test.downstream_rq_2xx")).toBe(1);
    }, 5_000);
    expect(await envoy.rejected()).toBe(0);
    expect(await envoy.configDump()).toHaveProperty("configs");
    expect(envoy.log()).not.toContain("error");
  });

  test("an Envoy that ends at once is an error with its words", async () => {
    const started = startEnvoy({ binary, config: () => ({ nonsense: true }) });
    await expect(started).rejects.toThrow(/Envoy ended[\s\S]*nonsense/);
  });
});

function httpListener(port: number): JsonObject {
  const route = { match: { prefix: "/" }, route: { cluster: "web" } };
  return {
    name: "http",
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    filter_chains: [
      {
        filters: [
          {
            name: "http",
            typed_config: {
              "@type":
                "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
              stat_prefix: "test",
              route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes: [route] }] },
              http_filters: [
                {
                  name: "router",
                  typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
                },
              ],
            },
          },
        ],
      },
    ],
  };
}

function staticCluster(port: number): JsonObject {
  const endpoint = { address: { socket_address: { address: "127.0.0.1", port_value: port } } };
  return {
    name: "web",
    type: "STATIC",
    load_assignment: { cluster_name: "web", endpoints: [{ lb_endpoints: [{ endpoint }] }] },
  };
}
