/** What JSON can hold. */
export type Json = string | number | boolean | null | readonly Json[] | JsonObject;
export type JsonObject = { readonly [key: string]: Json };

export type BootstrapOptions = {
  /** Host name or IP address of the controller, as Envoy reaches it. */
  readonly xdsAddress: string;
  readonly xdsPort: number;
  /** Files on Envoy's machine: its certificate and key, and the authority that issued the controller's certificate. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly caFile: string };
  /** Who reaches it can stop Envoy, so it is nothing for other machines. A pipe that begins with "@" is no file. */
  readonly admin: SocketAddress | { readonly pipe: string };
  /** Where Envoy tells, and does nothing else, whether it is ready and what it has counted. */
  readonly stats?: SocketAddress;
  readonly limits: EnvoyLimits;
  /** Tells several Envoys apart in the controller's log and status. */
  readonly nodeId: string;
};

export type EnvoyLimits = {
  /** What Envoy may use of memory, shortly below which it begins to refuse work. */
  readonly maxHeapMib: number;
  /** Connections from clients, on all listeners but that of {@link BootstrapOptions.stats}. */
  readonly maxConnections: number;
};

type SocketAddress = { readonly address: string; readonly port: number };

const XDS_CLUSTER = "xds";
const ADMIN_CLUSTER = "admin";

/** More than RE2 can make of what it compiles in the memory that Envoy gives it. */
const MAX_REGEX_INSTRUCTIONS = 100_000;

/** Everything Envoy has to be told at its start, in the JSON form of its configuration: the rest comes from the controller. */
export function bootstrap(options: BootstrapOptions): JsonObject {
  return {
    node: { id: options.nodeId, cluster: "isoline" },
    admin: { address: adminAddress(options) },
    dynamic_resources: { ads_config: ads(), cds_config: overAds(), lds_config: overAds() },
    static_resources: {
      listeners: options.stats === undefined ? [] : [statsListener(options.stats)],
      clusters: [xdsCluster(options), ...(options.stats === undefined ? [] : [adminCluster(options)])],
    },
    overload_manager: overloadManager(options.limits),
    // Nothing is made for a cluster before its first request: at 10,000 clusters this halves Envoy's start and memory.
    cluster_manager: { enable_deferred_cluster_creation: true },
    deferred_stat_options: { enable_deferred_creation_stats: true },
    stats_config: statsConfig(),
    // By itself Envoy refuses a host for a regular expression as small as [a-z]{1,63}; the controller refuses large ones.
    layered_runtime: {
      layers: [{ name: "isoline", static_layer: { "re2.max_program_size.error_level": MAX_REGEX_INSTRUCTIONS } }],
    },
  };
}

function adminAddress({ admin }: BootstrapOptions): Json {
  return "pipe" in admin ? { pipe: { path: admin.pipe } } : socketAddress(admin);
}

function adminCluster(options: BootstrapOptions): Json {
  return {
    name: ADMIN_CLUSTER,
    type: "STATIC",
    connect_timeout: "1s",
    load_assignment: {
      cluster_name: ADMIN_CLUSTER,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: adminAddress(options) } }] }],
    },
  };
}

const TYPES = "type.googleapis.com/envoy";

/**
 * Leads to two paths of the admin interface, by GET, and to no other. It answers while Envoy is too busy for its clients: a
 * probe or a scrape that fails then would make things worse.
 */
function statsListener(address: SocketAddress): Json {
  const get = [{ name: ":method", string_match: { exact: "GET" } }];
  const routes = ["/ready", "/stats/prometheus"].map((path) => ({
    match: { path, headers: get },
    route: { cluster: ADMIN_CLUSTER },
  }));
  const manager = {
    "@type": `${TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "stats",
    route_config: { name: "stats", virtual_hosts: [{ name: "stats", domains: ["*"], routes }] },
    http_filters: [{ name: "router", typed_config: { "@type": `${TYPES}.extensions.filters.http.router.v3.Router` } }],
    common_http_protocol_options: { idle_timeout: "300s" },
    request_headers_timeout: "10s",
    http2_protocol_options: { max_concurrent_streams: 10 },
  };
  return {
    name: "stats",
    address: socketAddress(address),
    ignore_global_conn_limit: true,
    bypass_overload_manager: true,
    per_connection_buffer_limit_bytes: 32 * 1024,
    filter_chains: [{ filters: [{ name: "http_connection_manager", typed_config: manager }] }],
  };
}

/** The less memory is left, the more is refused: first what costs nobody much, at the end connections. */
function overloadManager({ maxHeapMib, maxConnections }: EnvoyLimits): Json {
  const HEAP = "envoy.resource_monitors.fixed_heap";
  const above = (value: number) => [{ name: HEAP, threshold: { value } }];
  const between = (scaling: number, saturation: number) => [
    { name: HEAP, scaled: { scaling_threshold: scaling, saturation_threshold: saturation } },
  ];
  const monitors = `${TYPES}.extensions.resource_monitors`;
  const action = (name: string, triggers: Json, more: JsonObject = {}): Json => ({
    name: `envoy.overload_actions.${name}`,
    triggers,
    ...more,
  });
  return {
    refresh_interval: "0.25s",
    resource_monitors: [
      {
        name: HEAP,
        typed_config: {
          "@type": `${monitors}.fixed_heap.v3.FixedHeapConfig`,
          max_heap_size_bytes: maxHeapMib * 1024 * 1024,
        },
      },
      {
        name: "envoy.resource_monitors.global_downstream_max_connections",
        typed_config: {
          "@type": `${monitors}.downstream_connections.v3.DownstreamConnectionsConfig`,
          max_active_downstream_connections: maxConnections,
        },
      },
    ],
    actions: [
      action("reduce_timeouts", between(0.8, 0.95), { typed_config: reducedTimeouts() }),
      action("shrink_heap", above(0.9)),
      action("disable_http_keepalive", above(0.92)),
      action("reset_high_memory_stream", between(0.93, 0.97)),
      action("stop_accepting_requests", above(0.95)),
      action("stop_accepting_connections", above(0.98)),
    ],
    // Streams that hold less than 64 KiB (2^16) are not worth resetting.
    buffer_factory_config: { minimum_account_to_track_power_of_two: 16 },
  };
}

/** Those of idle connections and of handshakes. What a route allows its requests stands. */
function reducedTimeouts(): Json {
  return {
    "@type": `${TYPES}.config.overload.v3.ScaleTimersOverloadActionConfig`,
    timer_scale_factors: [
      { timer: "HTTP_DOWNSTREAM_CONNECTION_IDLE", min_timeout: "5s" },
      { timer: "TRANSPORT_SOCKET_CONNECT", min_scale: { value: 20 } },
    ],
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

function socketAddress({ address, port }: SocketAddress): Json {
  return { socket_address: { address, port_value: port } };
}

function isIpAddress(address: string): boolean {
  return address.includes(":") || /^\d+\.\d+\.\d+\.\d+$/.test(address);
}
