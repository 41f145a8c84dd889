import type { DescMessage, MessageInitShape } from "@bufbuild/protobuf";
import type { ClusterSchema } from "#proto/envoy/config/cluster/v3/cluster_pb.js";
import type { HeaderMutationSchema } from "#proto/envoy/config/common/mutation_rules/v3/mutation_rules_pb.js";
import type { Http2ProtocolOptionsSchema } from "#proto/envoy/config/core/v3/protocol_pb.js";
import { SocketOption_SocketState, type SocketOptionSchema } from "#proto/envoy/config/core/v3/socket_option_pb.js";
import type { ListenerSchema } from "#proto/envoy/config/listener/v3/listener_pb.js";
import {
  HttpConnectionManager_PathWithEscapedSlashesAction,
  type HttpConnectionManagerSchema,
} from "#proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { duration } from "./duration.ts";
import { SCOPE_HEADER } from "./names.ts";

// What holds for every connection, whatever objects say. Why, and what was left out, is in docs/adr/0009-envoy-as-an-edge-proxy.md.

type Init<Schema extends DescMessage> = Exclude<MessageInitShape<Schema>, { readonly $typeName: string }>;

/** How long Envoy lets a request go without a sign of life from either side, where its route does not say more. */
export const STREAM_IDLE_TIMEOUT_MS: number = 5 * 60_000;

/** How much Envoy reads ahead on one side of a connection while the other side is slow. */
const BUFFER_LIMIT_BYTES = 32 * 1024;

/** A request whose body is longer than this is not tried again. */
export const RETRY_BUFFER_BYTES: bigint = 1024n * 1024n;

const KEEPALIVE = { idleSeconds: 60, intervalSeconds: 10, probes: 6 };

/** For both sides of Envoy: how much it takes of one stream, and of one connection, before it has passed it on. */
export const HTTP2_WINDOWS: Init<typeof Http2ProtocolOptionsSchema> = {
  initialStreamWindowSize: 256 * 1024,
  initialConnectionWindowSize: 1024 * 1024,
};

export function edgeListener(): Init<typeof ListenerSchema> {
  return { perConnectionBufferLimitBytes: BUFFER_LIMIT_BYTES, socketOptions: keepaliveOptions() };
}

export function edgeCluster(): Init<typeof ClusterSchema> {
  return {
    perConnectionBufferLimitBytes: BUFFER_LIMIT_BYTES,
    upstreamConnectionOptions: {
      tcpKeepalive: {
        keepaliveTime: KEEPALIVE.idleSeconds,
        keepaliveInterval: KEEPALIVE.intervalSeconds,
        keepaliveProbes: KEEPALIVE.probes,
      },
    },
  };
}

/** `trustedHops` is how many proxies in front of Envoy are believed in what they say of clients. */
export function edgeManager(trustedHops: number): Init<typeof HttpConnectionManagerSchema> {
  return {
    // The address of a client is that of its connection, or what the outermost trusted proxy says.
    useRemoteAddress: true,
    xffNumTrustedHops: trustedHops,
    // No client has this address, so none is one of our own. Without any range Envoy takes private addresses for internal.
    internalAddressConfig: { cidrRanges: [{ addressPrefix: "0.0.0.0", prefixLen: 32 }] },
    // Delegation is decided by path, so a path must mean the same to Envoy, to compile and to the backend.
    normalizePath: true,
    mergeSlashes: false,
    pathWithEscapedSlashesAction: HttpConnectionManager_PathWithEscapedSlashesAction.KEEP_UNCHANGED,
    stripTrailingHostDot: true,
    maxRequestHeadersKb: 60,
    commonHttpProtocolOptions: {
      maxHeadersCount: 100,
      // More than load balancers keep theirs, so that it is never Envoy that closes a connection they are about to use.
      idleTimeout: duration(15 * 60_000),
    },
    requestHeadersTimeout: duration(10_000),
    streamIdleTimeout: duration(STREAM_IDLE_TIMEOUT_MS),
    httpProtocolOptions: { acceptHttp10: true },
    http2ProtocolOptions: { ...HTTP2_WINDOWS, maxConcurrentStreams: 100 },
  };
}

/** By these, proxies tell backends of clients. Many a backend believes them without knowing who set them. */
const TOLD_BY_PROXIES = {
  // Such as x-forwarded-for, -host, -port, -proto, -prefix and -user.
  prefixes: ["x-forwarded", "forwarded"],
  names: [
    ...["x-real-ip", "x-client-ip", "x-cluster-client-ip", "client-ip", "true-client-ip"],
    ...["x-scheme", "x-url-scheme", "front-end-https"],
    // Some frameworks route by these, past the path that Envoy has matched.
    ...["x-original-url", "x-original-uri", "x-original-host", "x-rewrite-url"],
  ],
};

/**
 * Removes what a client must not tell a backend: what proxies tell of clients, unless some in front of Envoy are trusted to
 * have told it, and what is Envoy's own. Of both also the spellings with underscores, which no proxy uses, and which some
 * backends (CGI, WSGI) take for the same.
 */
export function removeForgeries(trustedHops: number): Init<typeof HeaderMutationSchema>[] {
  const told = trustedHops === 0 ? TOLD_BY_PROXIES : { prefixes: [], names: [] };
  // By prefixes and names, because Envoy may be set to refuse regular expressions as large as this would be.
  const prefixes = ["x-envoy-", "x-envoy_", "x_envoy", "x_forwarded", "x-forwarded_", ...told.prefixes];
  const names = [
    ...["x-request-id", SCOPE_HEADER, "forwarded-for", ...TOLD_BY_PROXIES.names].flatMap(spellingsWithUnderscores),
    ...["x-forwarded-client_cert", ...told.names],
    // Of the headers that frame a message.
    ...["content_length", "transfer_encoding"],
  ];
  return [
    ...prefixes.map((value): Init<typeof HeaderMutationSchema> => {
      const keyMatcher = { matchPattern: { case: "prefix" as const, value } };
      return { action: { case: "removeOnMatch", value: { keyMatcher } } };
    }),
    ...names.map((value): Init<typeof HeaderMutationSchema> => ({ action: { case: "remove", value } })),
  ];
}

/** `a-b-c` is also `a_b-c`, `a-b_c` and `a_b_c`. */
function spellingsWithUnderscores(name: string): readonly string[] {
  const [first = "", ...rest] = name.split("-");
  const all = rest.reduce(
    (starts, part) => starts.flatMap((start) => [`${start}-${part}`, `${start}_${part}`]),
    [first],
  );
  return all.filter((spelling) => spelling !== name);
}

/** The kernel finds out about peers that have gone without a word; connections that Envoy accepts inherit this. */
function keepaliveOptions(): Init<typeof SocketOptionSchema>[] {
  const [SOL_SOCKET, IPPROTO_TCP] = [1n, 6n];
  const options = [
    { description: "SO_KEEPALIVE", level: SOL_SOCKET, name: 9n, value: 1 },
    { description: "TCP_KEEPIDLE", level: IPPROTO_TCP, name: 4n, value: KEEPALIVE.idleSeconds },
    { description: "TCP_KEEPINTVL", level: IPPROTO_TCP, name: 5n, value: KEEPALIVE.intervalSeconds },
    { description: "TCP_KEEPCNT", level: IPPROTO_TCP, name: 6n, value: KEEPALIVE.probes },
  ];
  return options.map(({ value, ...option }) => ({
    ...option,
    value: { case: "intValue", value: BigInt(value) },
    state: SocketOption_SocketState.STATE_LISTENING,
  }));
}
