import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { anyPack } from "@bufbuild/protobuf/wkt";
import type { CircuitBreakers_ThresholdsSchema } from "#proto/envoy/config/cluster/v3/circuit_breaker_pb.js";
import {
  Cluster_DiscoveryType,
  Cluster_DnsLookupFamily,
  Cluster_LbPolicy,
  ClusterSchema,
} from "#proto/envoy/config/cluster/v3/cluster_pb.js";
import { ApiVersion } from "#proto/envoy/config/core/v3/config_source_pb.js";
import type { HealthCheckSchema } from "#proto/envoy/config/core/v3/health_check_pb.js";
import type { LbEndpointSchema } from "#proto/envoy/config/endpoint/v3/endpoint_components_pb.js";
import {
  type CertificateValidationContextSchema,
  SubjectAltNameMatcher_SanType,
  TlsParameters_TlsProtocol,
} from "#proto/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import { UpstreamTlsContextSchema } from "#proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { HttpProtocolOptionsSchema } from "#proto/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.js";
import { CodecClientType } from "#proto/envoy/type/v3/http_pb.js";
import type * as ir from "../ir/ir.ts";
import { edgeCluster, HTTP2_WINDOWS } from "./edge.ts";
import { encode } from "./encode.ts";
import { loadAssignmentName, serviceOrigin, UNAVAILABLE_CLUSTER } from "./names.ts";
import type { Draft } from "./resource.ts";

/** How long Envoy waits for a connection to an endpoint before it tries the next one. */
const CONNECT_TIMEOUT = { seconds: 2n };

export function clusterDraft(name: string, cluster: ir.Cluster): Draft {
  const { service, endpoints } = cluster;
  const draft = {
    type: "cluster",
    name,
    nameIsContent: true,
    clusters: [],
    origins: [serviceOrigin(service.namespace, service.name)],
  } as const;
  switch (endpoints.kind) {
    case "slices": {
      const servicePort = { namespace: service.namespace, service: service.name, portName: endpoints.portName };
      const loadAssignment = loadAssignmentName(servicePort);
      return {
        ...draft,
        loadAssignment,
        servicePort,
        checksEndpoints: cluster.healthCheck !== undefined,
        ...firstCheckOf(cluster),
        encode: () => encodeCluster(name, { ...edsDiscovery(loadAssignment), ...settingsOf(cluster) }),
      };
    }
    case "dns":
      return {
        ...draft,
        encode: () =>
          encodeCluster(name, { ...dnsDiscovery(name, endpoints.hostname, service.port), ...settingsOf(cluster) }),
      };
  }
}

/**
 * Nobody waits with a route that asks for TLS: until the checks have answered, the one before would go on without it. Nor
 * with one to a name: most checks begin when Envoy has resolved it, and for that it does not wait either.
 */
function firstCheckOf({ healthCheck, tls }: ir.Cluster): Pick<Draft, "firstCheckMs"> {
  return healthCheck === undefined || tls !== undefined ? {} : { firstCheckMs: healthCheck.timeoutSeconds * 1000 };
}

export function unavailableClusterDraft(): Draft {
  const name = UNAVAILABLE_CLUSTER;
  const discovery: ClusterInit = { clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC } };
  return {
    type: "cluster",
    name,
    nameIsContent: true,
    clusters: [],
    origins: [],
    encode: () => encodeCluster(name, discovery),
  };
}

type ClusterInit = Exclude<MessageInitShape<typeof ClusterSchema>, { $typeName: string }>;

function edsDiscovery(serviceName: string): ClusterInit {
  return {
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.EDS },
    edsClusterConfig: {
      serviceName,
      edsConfig: { configSourceSpecifier: { case: "ads", value: {} }, resourceApiVersion: ApiVersion.V3 },
    },
  };
}

function dnsDiscovery(name: string, hostname: string, port: number): ClusterInit {
  return {
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STRICT_DNS },
    dnsLookupFamily: Cluster_DnsLookupFamily.V4_PREFERRED,
    // A name that is slow to resolve would otherwise hold up the clusters of everybody else: Envoy acknowledges none
    // while one is warming, and does not start. Until it is resolved, its own routes answer 503.
    waitForWarmOnInit: false,
    loadAssignment: {
      clusterName: name,
      endpoints: [{ lbEndpoints: [lbEndpoint(hostname, port, true)] }],
    },
  };
}

function settingsOf({ http2, tls, circuitBreakers, loadBalancing, healthCheck }: ir.Cluster): ClusterInit {
  return {
    lbPolicy: LB_POLICY[loadBalancing],
    ...(healthCheck === undefined ? {} : { healthChecks: [healthCheckMessage(healthCheck, http2, tls)] }),
    ...(http2 ? { typedExtensionProtocolOptions: { [HTTP_OPTIONS]: HTTP2 } } : {}),
    ...(tls === undefined ? {} : { transportSocket: tlsTransportSocket(tls) }),
    ...(Object.values(circuitBreakers).every((limit) => limit === undefined)
      ? {}
      : { circuitBreakers: { thresholds: [thresholds(circuitBreakers)] } }),
  };
}

const LB_POLICY: Readonly<Record<ir.LoadBalancing, Cluster_LbPolicy>> = {
  roundRobin: Cluster_LbPolicy.ROUND_ROBIN,
  leastRequest: Cluster_LbPolicy.LEAST_REQUEST,
  random: Cluster_LbPolicy.RANDOM,
  // The ring depends on the addresses alone: every Envoy, and every cluster of the same endpoints, has the same.
  sessionCookie: Cluster_LbPolicy.RING_HASH,
};

function healthCheckMessage(check: ir.HealthCheck, http2: boolean, tls: ir.UpstreamTls | undefined): HealthCheckInit {
  const interval = { seconds: BigInt(check.intervalSeconds) };
  return {
    timeout: { seconds: BigInt(check.timeoutSeconds) },
    interval,
    // By default Envoy checks a cluster without requests once a minute.
    noTrafficInterval: interval,
    unhealthyThreshold: check.unhealthyThreshold,
    healthyThreshold: check.healthyThreshold,
    // Servers speak HTTP/2 over TLS only to those who offer it, as nobody else does for connections that are forwarded.
    ...(http2 && tls !== undefined && tls.alpn === undefined ? { tlsOptions: { alpnProtocols: ["h2"] } } : {}),
    healthChecker: {
      case: "httpHealthCheck",
      value: {
        host: check.host,
        path: check.path,
        // All but 200 and 503: by default, any of them takes the endpoint out at once.
        retriableStatuses: [
          { start: 100n, end: 200n },
          { start: 201n, end: 503n },
          { start: 504n, end: 600n },
        ],
        codecClientType: http2 ? CodecClientType.HTTP2 : CodecClientType.HTTP1,
      },
    },
  };
}

type HealthCheckInit = MessageInitShape<typeof HealthCheckSchema>;

const HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

const HTTP2 = anyPack(
  HttpProtocolOptionsSchema,
  create(HttpProtocolOptionsSchema, {
    upstreamProtocolOptions: {
      case: "explicitHttpConfig",
      value: { protocolConfig: { case: "http2ProtocolOptions", value: HTTP2_WINDOWS } },
    },
  }),
);

function tlsTransportSocket({ sni, alpn, validation }: ir.UpstreamTls): NonNullable<ClusterInit["transportSocket"]> {
  const context = create(UpstreamTlsContextSchema, {
    sni: sni ?? "",
    commonTlsContext: {
      alpnProtocols: alpn === undefined ? [] : [alpn],
      // As a client, Envoy goes no further than 1.2 by itself.
      tlsParams: { tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3 },
      validationContextType:
        validation === undefined
          ? { case: undefined }
          : { case: "validationContext", value: validationContext(validation) },
    },
  });
  return {
    name: "envoy.transport_sockets.tls",
    configType: { case: "typedConfig", value: anyPack(UpstreamTlsContextSchema, context) },
  };
}

function validationContext({ authorities, subjectName }: ir.UpstreamValidation): ValidationContext {
  return {
    trustedCa: { specifier: { case: "inlineString", value: authorities.pem } },
    matchTypedSubjectAltNames: [
      {
        sanType: SubjectAltNameMatcher_SanType.DNS,
        matcher: { matchPattern: { case: "exact", value: subjectName }, ignoreCase: true },
      },
    ],
  };
}

type ValidationContext = MessageInitShape<typeof CertificateValidationContextSchema>;

function thresholds({ maxConnections, maxPendingRequests, maxRequests, maxRetries }: ir.CircuitBreakers): Thresholds {
  return {
    ...(maxConnections === undefined ? {} : { maxConnections }),
    ...(maxPendingRequests === undefined ? {} : { maxPendingRequests }),
    ...(maxRequests === undefined ? {} : { maxRequests }),
    ...(maxRetries === undefined ? {} : { maxRetries }),
  };
}

type Thresholds = MessageInitShape<typeof CircuitBreakers_ThresholdsSchema>;

/** Unless it `mayBeChecked`, it counts as healthy in every cluster. */
export function lbEndpoint(address: string, port: number, mayBeChecked: boolean): LbEndpointInit {
  return {
    hostIdentifier: {
      case: "endpoint",
      value: {
        address: {
          address: {
            case: "socketAddress",
            value: { address, portSpecifier: { case: "portValue", value: port } },
          },
        },
        ...(mayBeChecked ? {} : { healthCheckConfig: { disableActiveHealthCheck: true } }),
      },
    },
  };
}

type LbEndpointInit = MessageInitShape<typeof LbEndpointSchema>;

function encodeCluster(name: string, discovery: ClusterInit): Uint8Array {
  return encode(ClusterSchema, {
    ...edgeCluster(),
    name,
    connectTimeout: CONNECT_TIMEOUT,
    lbPolicy: Cluster_LbPolicy.ROUND_ROBIN,
    // An endpoint that its EndpointSlice no longer lists takes no new requests, whatever health checks say of it.
    ignoreHealthOnHostRemoval: true,
    commonLbConfig: {
      // With few healthy endpoints left, Envoy would by default send to the unhealthy ones as well.
      healthyPanicThreshold: { value: 0 },
      // Changes of endpoints take effect at once rather than once a second.
      updateMergeWindow: {},
    },
    ...discovery,
  });
}
