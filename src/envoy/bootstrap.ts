/** What JSON can hold. */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export type JsonObject = { readonly [key: string]: Json };

export type BootstrapOptions = {
  /** Host name or IP address of the controller, as Envoy reaches it. */
  readonly xdsAddress: string;
  readonly xdsPort: number;
  /** Files on Envoy's machine: its certificate and key, and the authority that issued the controller's certificate. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly caFile: string };
  readonly admin: { readonly address: string; readonly port: number } | { readonly pipe: string };
  /** Tells several Envoys apart in the controller's log and status. */
  readonly nodeId: string;
};

const XDS_CLUSTER = "xds";

/** Everything Envoy has to be told at its start, in the JSON form of its configuration: the rest comes from the controller. */
export function bootstrap(options: BootstrapOptions): JsonObject {
  return {
    node: { id: options.nodeId, cluster: "isoline" },
    admin: { address: "pipe" in options.admin ? { pipe: { path: options.admin.pipe } } : socketAddress(options.admin) },
    dynamic_resources: { ads_config: ads(), cds_config: overAds(), lds_config: overAds() },
    static_resources: { clusters: [xdsCluster(options)] },
    // Nothing is made for a cluster before its first request: at 10,000 clusters this halves Envoy's start and memory.
    cluster_manager: { enable_deferred_cluster_creation: true },
    deferred_stat_options: { enable_deferred_creation_stats: true },
    stats_config: statsConfig(),
  };
}

function ads(): Json {
  return {
    api_type: "DELTA_GRPC",
    transport_api_version: "V3",
    set_node_on_first_message_only: true,
    grpc_services: [
      {
        envoy_grpc: {
          cluster_name: XDS_CLUSTER,
          // Envoy's own maximum, 30 s, is long for a controller that is back after a minute.
          retry_policy: { retry_back_off: { base_interval: "0.2s", max_interval: "5s" } },
        },
      },
    ],
  };
}

function overAds(): Json {
  // No timeout: an Envoy that has not heard from a controller yet has nothing to serve, and must not become ready.
  return { ads: {}, resource_api_version: "V3", initial_fetch_timeout: "0s" };
}

function xdsCluster({ xdsAddress, xdsPort, tls }: BootstrapOptions): Json {
  const address = socketAddress({ address: xdsAddress, port: xdsPort });
  return {
    name: XDS_CLUSTER,
    type: isIpAddress(xdsAddress) ? "STATIC" : "STRICT_DNS",
    connect_timeout: "5s",
    load_assignment: {
      cluster_name: XDS_CLUSTER,
      endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
    },
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config: {
          // A controller that vanished without closing the connection is noticed by this, not by TCP.
          http2_protocol_options: { connection_keepalive: { interval: "30s", timeout: "5s" } },
        },
      },
    },
    ...(tls === undefined ? {} : { transport_socket: tlsTransportSocket(tls) }),
  };
}

function tlsTransportSocket(tls: NonNullable<BootstrapOptions["tls"]>): Json {
  return {
    name: "envoy.transport_sockets.tls",
    typed_config: {
      "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
      common_tls_context: {
        // As a client, Envoy goes no further than 1.2 by itself.
        tls_params: { tls_minimum_protocol_version: "TLSv1_3", tls_maximum_protocol_version: "TLSv1_3" },
        // The controller's server speaks HTTP/2 to nobody who does not ask for it.
        alpn_protocols: ["h2"],
        tls_certificates: [{ certificate_chain: { filename: tls.certFile }, private_key: { filename: tls.keyFile } }],
        // The authority issues for the controller and its Envoys alone, so its signature is enough.
        validation_context: { trusted_ca: { filename: tls.caFile } },
      },
    },
  };
}

/**
 * Leaves out what Envoy counts for each cluster and each certificate, which at 10,000 clusters takes a second of its
 * start, 100 MB, and 8 % of a core for ever. Kept of those is only whether Envoy refused what it was sent.
 */
function statsConfig(): Json {
  const kept = [
    "cluster_manager.",
    `cluster.${XDS_CLUSTER}.`,
    "control_plane.",
    "http.",
    "listener.",
    "listener_manager.",
    "main_thread.",
    "overload.",
    "runtime.",
    "server.",
    "tcp.",
    "tls_inspector.",
    "workers.",
  ];
  const patterns = [...kept.map((prefix) => ({ prefix })), { suffix: ".update_rejected" }];
  return { stats_matcher: { inclusion_list: { patterns } } };
}

function socketAddress({ address, port }: { readonly address: string; readonly port: number }): Json {
  return { socket_address: { address, port_value: port } };
}

function isIpAddress(address: string): boolean {
  return address.includes(":") || /^\d+\.\d+\.\d+\.\d+$/.test(address);
}
