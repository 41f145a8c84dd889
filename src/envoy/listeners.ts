import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { anyPack, StringValueSchema } from "@bufbuild/protobuf/wkt";
import { HeaderValueOption_HeaderAppendAction } from "#proto/envoy/config/core/v3/base_pb.js";
import { ApiVersion } from "#proto/envoy/config/core/v3/config_source_pb.js";
import type { FilterChainSchema } from "#proto/envoy/config/listener/v3/listener_components_pb.js";
import { ListenerSchema } from "#proto/envoy/config/listener/v3/listener_pb.js";
import { ExtensionWithMatcherSchema } from "#proto/envoy/extensions/common/matching/v3/extension_matcher_pb.js";
import { SkipFilterSchema } from "#proto/envoy/extensions/filters/common/matcher/action/v3/skip_action_pb.js";
import { LuaSchema } from "#proto/envoy/extensions/filters/http/lua/v3/lua_pb.js";
import { RouterSchema } from "#proto/envoy/extensions/filters/http/router/v3/router_pb.js";
import { TlsInspectorSchema } from "#proto/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector_pb.js";
import { HttpConnectionManagerSchema } from "#proto/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import { TcpProxySchema } from "#proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import { HeaderMutationSchema } from "#proto/envoy/extensions/http/early_header_mutation/header_mutation/v3/header_mutation_pb.js";
import { ServerNameInputSchema } from "#proto/envoy/extensions/matching/common_inputs/network/v3/network_inputs_pb.js";
import { SNISchema } from "#proto/envoy/extensions/transport_sockets/tls/cert_mappers/sni/v3/sni_pb.js";
import { ConfigSchema as OnDemandSecretSchema } from "#proto/envoy/extensions/transport_sockets/tls/cert_selectors/on_demand_secret/v3/config_pb.js";
import { TlsParameters_TlsProtocol } from "#proto/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import { DownstreamTlsContextSchema } from "#proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { HttpRequestHeaderMatchInputSchema } from "#proto/envoy/type/matcher/v3/http_inputs_pb.js";
import type {
  Matcher_MatcherList_FieldMatcherSchema,
  Matcher_OnMatchSchema,
} from "#proto/xds/type/matcher/v3/matcher_pb.js";
import type * as ir from "../ir/ir.ts";
import { accessLog } from "./access-log.ts";
import { edgeListener, edgeManager, removeForgeries } from "./edge.ts";
import {
  ANSWERS_WEBSOCKETS,
  AUTHORITY,
  httpScope,
  httpsScope,
  MISDIRECTED,
  NO_ROUTE,
  REDIRECTS_TO_HOST,
  SCOPE_HEADER,
  shareName,
  UNAVAILABLE_CLUSTER,
  WEBSOCKET,
} from "./names.ts";
import type { Digest, Draft } from "./resource.ts";

export type ListenerOptions = {
  /** The address that Envoy listens on. */
  readonly address: string;
  readonly httpPort: number;
  readonly httpsPort: number;
  /** Hosts that do not ask for a newer version of TLS are served with this one. */
  readonly minimumTlsVersion: ir.TlsVersion;
  /** Whether Envoy writes a line for each request. */
  readonly accessLog: boolean;
  /** How many proxies in front of Envoy are believed in what they say of clients. */
  readonly trustedHops: number;
  /** The port that redirects name, if clients do not find https where they look for it. */
  readonly redirectPort: number | undefined;
};

export const HTTP_LISTENER = "http";
export const HTTPS_LISTENER = "https";

/** The listener of the insecure port. It depends on no object, so that no change of a host ever touches it. */
export function httpListenerDraft(options: ListenerOptions): Draft {
  return listenerDraft(HTTP_LISTENER, () => ({
    address: socketAddress(options.address, options.httpPort),
    filterChains: [{ filters: [connectionManager("http", httpScope("%REQ(:AUTHORITY)%"), options, [foldFilter()])] }],
  }));
}

/**
 * The listener of the secure port. Ordinary hosts do not show in it: their certificates are fetched by name and their
 * routes selected by scope. `exceptions` are the hosts that {@link needsFilterChain} is true of, by name; some are wildcards.
 */
export function httpsListenerDraft(options: ListenerOptions, exceptions: readonly ir.Host[], digest: Digest): Draft {
  const clusters = new Set<string>();
  const tcpChains = exceptions.flatMap((host) => tcpFilterChain(host, options, digest, clusters) ?? []);
  const draft = listenerDraft(HTTPS_LISTENER, () => ({
    address: socketAddress(options.address, options.httpsPort),
    listenerFilters: [
      {
        name: "tls_inspector",
        configType: { case: "typedConfig", value: anyPack(TlsInspectorSchema, create(TlsInspectorSchema)) },
      },
    ],
    filterChains: [
      ...versionsFrom(options.minimumTlsVersion).map((version) => httpsFilterChain(version, options)),
      ...tcpChains,
    ],
    filterChainMatcher: chooseFilterChain(options, exceptions),
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

const VERSIONS = {
  "1.1": TlsParameters_TlsProtocol.TLSv1_1,
  "1.2": TlsParameters_TlsProtocol.TLSv1_2,
  "1.3": TlsParameters_TlsProtocol.TLSv1_3,
} as const;

function versionsFrom(lowest: ir.TlsVersion): readonly ir.TlsVersion[] {
  return (["1.1", "1.2", "1.3"] as const).filter((version) => version >= lowest);
}

function versionChain(version: ir.TlsVersion): string {
  return `https-tls-${version}`;
}

/** By the server name that the client asks for; most take the chain of the lowest version, and some have none. */
function chooseFilterChain(options: ListenerOptions, exceptions: readonly ir.Host[]): MatcherInit {
  const wildcards = exceptions.filter(({ name }) => name.startsWith("*."));
  const hosts = exceptions.filter((host) => !wildcards.includes(host));
  const ordinary: MatcherInit = {
    matcherType: {
      case: "matcherList",
      value: {
        matchers: [
          ...wildcards.map((host) => onServerName(namesOf(host.name), chainOf(host, options))),
          onServerName(HOST_CHARACTERS, versionChain(options.minimumTlsVersion)),
        ],
      },
    },
  };
  if (hosts.length === 0) return ordinary;
  const map = Object.fromEntries(hosts.map((host) => [host.name, filterChainNamed(chainOf(host, options))]));
  return {
    matcherType: {
      case: "matcherTree",
      value: { input: serverName(), treeType: { case: "exactMatchMap", value: { map } } },
    },
    onNoMatch: { onMatch: { case: "matcher", value: ordinary } },
  };
}

function serverName() {
  return { name: "server_name", typedConfig: anyPack(ServerNameInputSchema, create(ServerNameInputSchema)) };
}

/** Chooses a filter chain for the server names that a regular expression matches. */
function onServerName(regex: string, chain: string): MessageInitShape<typeof Matcher_MatcherList_FieldMatcherSchema> {
  const matchPattern = {
    case: "safeRegex" as const,
    value: { regex, engineType: { case: "googleRe2" as const, value: {} } },
  };
  return {
    predicate: {
      matchType: {
        case: "singlePredicate",
        value: { input: serverName(), matcher: { case: "valueMatch", value: { matchPattern } } },
      },
    },
    onMatch: filterChainNamed(chain),
  };
}

/** The names that a wildcard stands for: those with one label in the place of the star. */
function namesOf(wildcard: string): string {
  return `${LABEL_CHARACTERS}${wildcard.slice(1).replace(/[^a-z0-9]/g, "\\$&")}`;
}

/**
 * What a server name may consist of. Every other connection is closed before Envoy asks for a certificate: a name of bytes
 * that are no text cannot be answered over xDS, and who asks for one waits until the handshake has had its time.
 */
const HOST_CHARACTERS = "[-A-Za-z0-9._]+";
const LABEL_CHARACTERS = "[-A-Za-z0-9_]+";

function chainOf({ name, tls, tcpProxy }: ir.Host, options: ListenerOptions): string {
  return tcpProxy === undefined ? versionChain(tls?.minimumVersion ?? options.minimumTlsVersion) : tcpChain(name);
}

type MatcherInit = NonNullable<ListenerInit["filterChainMatcher"]>;

function filterChainNamed(name: string): MessageInitShape<typeof Matcher_OnMatchSchema> {
  const typedConfig = anyPack(StringValueSchema, create(StringValueSchema, { value: name }));
  return { onMatch: { case: "action", value: { name, typedConfig } } };
}

/** How long a client's handshake may take, in which Envoy fetches the host's certificate if it has not got it yet. */
const HANDSHAKE_TIMEOUT = { seconds: 5n };

function httpsFilterChain(version: ir.TlsVersion, options: ListenerOptions): FilterChainInit {
  return {
    name: versionChain(version),
    transportSocketConnectTimeout: HANDSHAKE_TIMEOUT,
    transportSocket: terminate(version, ["h2", "http/1.1"]),
    filters: [connectionManager("https", `${httpsScope("%REQUESTED_SERVER_NAME%")}:%DOWNSTREAM_TLS_VERSION%`, options)],
  };
}

/** How long a forwarded connection may be idle. Envoy's hour is short for what such connections are used for. */
const TCP_IDLE_TIMEOUT = { seconds: 9000n };

export function tcpChain(host: string): string {
  return `tcp|${host}`;
}

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
  const proxy = create(TcpProxySchema, {
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
    ...(tls === undefined ? {} : { transportSocket: terminate(tls.minimumVersion, []) }),
    filters: [{ name: "tcp_proxy", configType: { case: "typedConfig", value: anyPack(TcpProxySchema, proxy) } }],
  };
}

/** What a client without a server name is taken to ask for: no host has this name, so it is refused. */
const NO_SERVER_NAME = "|";

/**
 * Ciphers of TLS before 1.3, all with forward secrecy. Envoy's own list has none that TLS 1.1 could use; those at the end
 * are for it alone.
 */
const CIPHERS_WITH_1_1 = [
  "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
  "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-SHA",
  "ECDHE-RSA-AES128-SHA",
  "ECDHE-ECDSA-AES256-SHA",
  "ECDHE-RSA-AES256-SHA",
];

function terminate(
  version: ir.TlsVersion,
  alpnProtocols: readonly string[],
): NonNullable<FilterChainInit["transportSocket"]> {
  const ads = { configSourceSpecifier: { case: "ads" as const, value: {} }, resourceApiVersion: ApiVersion.V3 };
  const byServerName = create(SNISchema, { defaultValue: NO_SERVER_NAME });
  const onDemand = create(OnDemandSecretSchema, {
    configSource: ads,
    certificateMapper: { name: "server_name", typedConfig: anyPack(SNISchema, byServerName) },
  });
  const context = create(DownstreamTlsContextSchema, {
    // Certificates on demand do not go together with resumption: Envoy refuses the listener.
    sessionTicketKeysType: { case: "disableStatelessSessionResumption", value: true },
    disableStatefulSessionResumption: true,
    commonTlsContext: {
      alpnProtocols: [...alpnProtocols],
      tlsParams: {
        tlsMinimumProtocolVersion: VERSIONS[version],
        tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
        cipherSuites: version === "1.1" ? CIPHERS_WITH_1_1 : [],
      },
      customTlsCertificateSelector: {
        name: "on_demand_secret",
        typedConfig: anyPack(OnDemandSecretSchema, onDemand),
      },
    },
  });
  return {
    name: "envoy.transport_sockets.tls",
    configType: { case: "typedConfig", value: anyPack(DownstreamTlsContextSchema, context) },
  };
}

function socketAddress(address: string, port: number) {
  const value = { address, portSpecifier: { case: "portValue" as const, value: port } };
  return { address: { case: "socketAddress" as const, value } };
}

/**
 * Routes by scope, one scope for each host. `scope` is a format that makes the scope's name out of a request; what follows
 * its first colon, the port or the version of TLS, is cut off.
 */
function connectionManager(
  statPrefix: string,
  scope: string,
  options: ListenerOptions,
  firstFilters: readonly ReturnType<typeof luaFilterUnless>[] = [],
) {
  const ads = { configSourceSpecifier: { case: "ads" as const, value: {} }, resourceApiVersion: ApiVersion.V3 };
  const manager = create(HttpConnectionManagerSchema, {
    ...edgeManager(options.trustedHops),
    statPrefix,
    accessLog: accessLog(options.accessLog),
    routeSpecifier: {
      case: "scopedRoutes",
      value: {
        name: "hosts",
        scopeKeyBuilder: {
          fragments: [
            {
              type: {
                case: "headerValueExtractor",
                value: {
                  name: SCOPE_HEADER,
                  elementSeparator: ":",
                  extractType: { case: "index", value: 0 },
                },
              },
            },
          ],
        },
        rdsConfigSource: ads,
        configSpecifier: { case: "scopedRds", value: { scopedRdsConfigSource: ads } },
      },
    },
    // Routes that forward say if they do not let them through; those that answer themselves cannot say anything.
    upgradeConfigs: [{ upgradeType: WEBSOCKET }],
    earlyHeaderMutationExtensions: [
      {
        name: "scope",
        typedConfig: anyPack(
          HeaderMutationSchema,
          create(HeaderMutationSchema, {
            mutations: [
              ...removeForgeries(options.trustedHops),
              {
                action: {
                  case: "append",
                  value: {
                    header: { key: SCOPE_HEADER, value: scope },
                    // What a client sends under this name does not count.
                    appendAction: HeaderValueOption_HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
                  },
                },
              },
            ],
          }),
        ),
      },
    ],
    httpFilters: [
      luaFilterUnless(":authority", AUTHORITY, "authority", REFUSE),
      ...firstFilters,
      luaFilter("scope", FIND_SCOPE),
      luaFilter("scope_again", `LAST = true\n${FIND_SCOPE}`),
      {
        name: "router",
        configType: { case: "typedConfig", value: anyPack(RouterSchema, create(RouterSchema)) },
      },
    ],
  });
  return {
    name: "http_connection_manager",
    configType: { case: "typedConfig" as const, value: anyPack(HttpConnectionManagerSchema, manager) },
  };
}

function luaFilter(name: string, code: string) {
  return { name, configType: { case: "typedConfig" as const, value: lua(name, code).typedConfig } };
}

function lua(name: string, code: string) {
  const message = create(LuaSchema, { defaultSourceCode: { specifier: { case: "inlineString", value: code } } });
  return { name, typedConfig: anyPack(LuaSchema, message) };
}

/** Only for requests whose scope is not in lower case: the others are not to pay for it. */
function foldFilter() {
  return luaFilterUnless(SCOPE_HEADER, "[^A-Z:]*(:.*)?", "fold", FOLD_SCOPE);
}

/** Requests with a header that the regular expression matches as a whole pass by the filter, at little cost. */
function luaFilterUnless(headerName: string, regex: string, name: string, code: string) {
  const header = { headerName };
  const isSpared = {
    input: {
      name: "header",
      typedConfig: anyPack(HttpRequestHeaderMatchInputSchema, create(HttpRequestHeaderMatchInputSchema, header)),
    },
    matcher: {
      case: "valueMatch" as const,
      value: {
        matchPattern: {
          case: "safeRegex" as const,
          value: { regex, engineType: { case: "googleRe2" as const, value: {} } },
        },
      },
    },
  };
  const skip = { name: "skip", typedConfig: anyPack(SkipFilterSchema, create(SkipFilterSchema)) };
  const filter = create(ExtensionWithMatcherSchema, {
    extensionConfig: lua(name, code),
    xdsMatcher: {
      matcherType: {
        case: "matcherList",
        value: {
          matchers: [
            {
              predicate: { matchType: { case: "singlePredicate", value: isSpared } },
              onMatch: { onMatch: { case: "action", value: skip } },
            },
          ],
        },
      },
    },
  });
  return {
    name,
    configType: { case: "typedConfig" as const, value: anyPack(ExtensionWithMatcherSchema, filter) },
  };
}

const REFUSE = `
function envoy_on_request(handle)
  handle:respond({ [":status"] = "400" })
end
`;

/**
 * Scopes are selected by exact bytes before any filter runs, and Envoy cannot fold case there. So a request for a host that
 * is not in lower case is looked up again. Server names are in lower case already.
 */
const FOLD_SCOPE = `
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace("${SCOPE_HEADER}", string.lower(headers:get("${SCOPE_HEADER}")))
  handle:clearRouteCache()
  handle:metadata():get("")
end
`;

/**
 * A request that found no route (all routes have names, and each host ends in one for everything) is looked up again as the
 * wildcard that stands for the name, which is for one label, and then in the scope of all other hosts.
 *
 * The first call to metadata() makes Envoy look the route up; nothing else does before the filters are through. So the filter
 * stands there twice, and each time goes a step further.
 *
 * On the secure port a wildcard's scope cannot tell whether the request is for the connection's server name, nor whether that
 * is a host of its own that is on the insecure port only: that is seen to here, by the rules that hold for other hosts.
 *
 * Envoy decides on upgrades by the route that it has before any filter, and lets them through where it has none. What it
 * would have refused on the route that was found since is refused here: at the latest the second time.
 */
const FIND_SCOPE = `
function routed(handle)
  local name = handle:streamInfo():routeName()
  return name ~= nil and name ~= ""
end

function refuse_upgrade(handle)
  local upgrade = handle:headers():get("upgrade")
  if upgrade == nil then return end
  local name = handle:streamInfo():routeName()
  local answered = name == "${NO_ROUTE}" or name == "${MISDIRECTED}" or handle:metadata():get("${ANSWERS_WEBSOCKETS}")
  if not (answered and string.lower(upgrade) == "${WEBSOCKET}") then
    handle:respond({ [":status"] = "403" })
  end
end

function envoy_on_request(handle)
  if routed(handle) then
    if LAST then refuse_upgrade(handle) end
    return
  end
  local headers = handle:headers()
  local scope, rest = string.match(headers:get("${SCOPE_HEADER}") or "", "^([^:]+)(.*)")
  if scope == nil then return end
  local function choose(other)
    headers:replace("${SCOPE_HEADER}", other .. rest)
    handle:clearRouteCache()
  end
  local function look(other)
    choose(other)
    handle:metadata():get("")
    return routed(handle)
  end
  local port, name = string.match(scope, "^(..)(.*)")
  local wildcard = port .. string.gsub(name, "^[^.]*", "*", 1)
  local following = port .. "*"
  if port == "${httpsScope("")}" and scope ~= wildcard then
    local host = string.match(string.lower(headers:get(":authority") or ""), "^[^:]*")
    if host ~= name then return handle:respond({ [":status"] = "421" }) end
    if look("${httpScope("")}" .. name) then return handle:respond({ [":status"] = "404" }) end
    return choose(wildcard)
  elseif port == "${httpsScope("")}" or scope ~= wildcard then
    following = wildcard
  end
  if look(following) then
    if handle:metadata():get("${REDIRECTS_TO_HOST}") then headers:replace(":authority", name) end
    refuse_upgrade(handle)
  end
end
`;
