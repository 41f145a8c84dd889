import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { FilterChainSchema } from "#proto/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema } from "#proto/envoy/config/listener/v3/listener_pb.js";
import { TlsInspectorSchema } from "#proto/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { TcpProxySchema } from "#proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import type * as ir from "../ir/ir.ts";
import { accessLog } from "./access-log.ts";
import { type ConnectionManagerOptions, httpConnectionManager, httpsConnectionManager } from "./connection-manager.ts";
import { terminateTls, versionsFrom } from "./downstream-tls.ts";
import { edgeListener } from "./edge.ts";
import { filter } from "./extension.ts";
import { filterChainMatcher } from "./filter-chain-matcher.ts";
import { shareName, UNAVAILABLE_CLUSTER } from "./names.ts";
import type { Digest, Draft } from "./resource.ts";

export type ListenerOptions = ConnectionManagerOptions & {
  /** The address that Envoy listens on. */
  readonly address: string;
  readonly httpPort: number;
  readonly httpsPort: number;
  /** Hosts that do not ask for a newer version of TLS are served with this one. */
  readonly minimumTlsVersion: ir.TlsVersion;
  /** The port that redirects name, if clients do not find https where they look for it. */
  readonly redirectPort: number | undefined;
};

export const HTTP_LISTENER = "http";
export const HTTPS_LISTENER = "https";

/** The listener of the insecure port. It depends on no object, so that no change of a host ever touches it. */
export function httpListenerDraft(options: ListenerOptions): Draft {
  return listenerDraft(HTTP_LISTENER, () => ({
    address: socketAddress(options.address, options.httpPort),
    filterChains: [{ filters: [httpConnectionManager(options)] }],
  }));
}

/**
 * The listener of the secure port. Ordinary hosts do not show in it: their certificates are fetched by name and their
 * routes selected by scope. `exceptions` are the hosts that {@link needsFilterChain} is true of, by name; some are wildcards.
 */
export function httpsListenerDraft(options: ListenerOptions, exceptions: readonly ir.Host[], digest: Digest): Draft {
  const clusters = new Set<string>();
  const tcpChains = exceptions.flatMap((host) => tcpFilterChain(host, options, digest, clusters) ?? []);
  const chains = new Map(exceptions.map((host) => [host.name, chainOf(host, options)]));
  const draft = listenerDraft(HTTPS_LISTENER, () => ({
    address: socketAddress(options.address, options.httpsPort),
    listenerFilters: [filter("tls_inspector", TlsInspectorSchema)],
    filterChains: [
      ...versionsFrom(options.minimumTlsVersion).map((version) => httpsFilterChain(version, options)),
      ...tcpChains,
    ],
    filterChainMatcher: filterChainMatcher(chains, versionChain(options.minimumTlsVersion)),
  }));
  return { ...draft, clusters: [...clusters].sort() };
}

/**
 * Whether the host is told apart from others before its scope is: such hosts cost an update of the listener. A host below a
 * wildcard that is told apart (`isBelow`) is too, because it has a version of its own.
 */
export function needsFilterChain({ tls, tcpProxy }: ir.Host, isBelow: boolean, options: ListenerOptions): boolean {
  return tcpProxy !== undefined || (tls !== undefined && (isBelow || tls.minimumVersion !== options.minimumTlsVersion));
}

type ListenerInit = Exclude<MessageInitShape<typeof ListenerSchema>, { $typeName: string }>;
type FilterChainInit = Exclude<MessageInitShape<typeof FilterChainSchema>, { $typeName: string }>;

function listenerDraft(name: string, listener: () => ListenerInit): Draft {
  const encode = () => toBinary(ListenerSchema, create(ListenerSchema, { name, ...edgeListener(), ...listener() }));
  return { type: "listener", name, nameIsContent: false, clusters: [], origins: [], encode };
}

function socketAddress(address: string, port: number) {
  const value = { address, portSpecifier: { case: "portValue" as const, value: port } };
  return { address: { case: "socketAddress" as const, value } };
}

/** The name of the chain that takes the host's connections. */
function chainOf({ name, tls, tcpProxy }: ir.Host, options: ListenerOptions): string {
  return tcpProxy === undefined ? versionChain(tls?.minimumVersion ?? options.minimumTlsVersion) : tcpChain(name);
}

function versionChain(version: ir.TlsVersion): string {
  return `https-tls-${version}`;
}

export function tcpChain(host: string): string {
  return `tcp|${host}`;
}

/** How long a client's handshake may take, in which Envoy fetches the host's certificate if it has not got it yet. */
const HANDSHAKE_TIMEOUT = { seconds: 5n };

function httpsFilterChain(version: ir.TlsVersion, options: ListenerOptions): FilterChainInit {
  return {
    name: versionChain(version),
    transportSocketConnectTimeout: HANDSHAKE_TIMEOUT,
    transportSocket: terminateTls(version, ["h2", "http/1.1"]),
    filters: [httpsConnectionManager(options)],
  };
}

/** How long a forwarded connection may be idle. Envoy's hour is short for what such connections are used for. */
const TCP_IDLE_TIMEOUT = { seconds: 9000n };

/** The chain that forwards a host's connections; adds the clusters that it leads to to `clusters`. */
function tcpFilterChain(
  host: ir.Host,
  options: ListenerOptions,
  digest: Digest,
  clusters: Set<string>,
): FilterChainInit | undefined {
  const { name, tcpProxy, tls } = host;
  if (tcpProxy === undefined) return undefined;
  const shares = tcpProxy.shares.map(({ weight, cluster }) => ({ weight, name: shareName(cluster, digest) }));
  const used = shares.length === 0 ? [{ weight: 1, name: UNAVAILABLE_CLUSTER }] : shares;
  for (const share of used) clusters.add(share.name);
  const [only, ...others] = used;
  const proxy = filter("tcp_proxy", TcpProxySchema, {
    statPrefix: "tcp",
    accessLog: accessLog(options.accessLog),
    idleTimeout: TCP_IDLE_TIMEOUT,
    clusterSpecifier:
      only !== undefined && others.length === 0
        ? { case: "cluster", value: only.name }
        : { case: "weightedClusters", value: { clusters: used } },
  });
  return {
    name: tcpChain(name),
    transportSocketConnectTimeout: HANDSHAKE_TIMEOUT,
    ...(tls === undefined ? {} : { transportSocket: terminateTls(tls.minimumVersion, []) }),
    filters: [proxy],
  };
}
