import type { MessageInitShape } from "@bufbuild/protobuf";
import type { RouteSchema, VirtualHostSchema } from "#proto/envoy/config/route/v3/route_components_pb.js";
import { ScopedRouteConfigurationSchema } from "#proto/envoy/config/route/v3/scoped_route_pb.js";
import type * as ir from "../ir/ir.ts";
import { clusterDraft, unavailableClusterDraft } from "./clusters.ts";
import { duration } from "./duration.ts";
import { RETRY_BUFFER_BYTES, STREAM_IDLE_TIMEOUT_MS } from "./edge.ts";
import { encode } from "./encode.ts";
import type { ListenerOptions } from "./listeners.ts";
import {
  ANSWERS_WEBSOCKETS,
  FILTER_METADATA,
  httpScope,
  httpsScope,
  MISDIRECTED,
  NO_ROUTE,
  REDIRECT,
  REDIRECTS_TO_HOST,
  routeName,
  SCOPE_HEADER,
  scopeName,
  shareName,
  TLS_TOO_OLD,
  WEBSOCKET,
} from "./names.ts";
import type { Digest, Draft } from "./resource.ts";
import { certificateDraft } from "./secrets.ts";

type RouteInit = Exclude<MessageInitShape<typeof RouteSchema>, { $typeName: string }>;

export type ScopeOptions = Pick<ListenerOptions, "redirectPort" | "minimumTlsVersion">;

/** Everything that Envoy needs in order to serve one host: its scopes, its certificate, and the clusters of its routes. */
export function hostDrafts(host: ir.Host, options: ScopeOptions, digest: Digest): readonly Draft[] {
  const clusters = new Map<string, Draft>();
  const nameOf = (cluster: ir.Cluster | undefined): string => {
    const name = shareName(cluster, digest);
    if (!clusters.has(name)) {
      clusters.set(name, cluster === undefined ? unavailableClusterDraft() : clusterDraft(name, cluster));
    }
    return name;
  };
  for (const { cluster } of host.tcpProxy?.shares ?? []) nameOf(cluster);
  if (host.tcpProxy?.shares.length === 0) nameOf(undefined);
  const certificates = host.tls === undefined ? [] : [certificateDraft(host, host.tls.certificate)];
  const scopes = [insecureScope(host, options, nameOf)];
  if (host.tls !== undefined && host.tcpProxy === undefined) {
    const { minimumVersion } = host.tls;
    scopes.push(secureScope(host, minimumVersion === options.minimumTlsVersion ? undefined : minimumVersion, nameOf));
  }
  return [...clusters.values(), ...certificates, ...scopes.map((scope) => scopeDraft(host, scope, digest))];
}

type Scope = {
  /** What it is selected by. */
  readonly key: string;
  readonly virtualHosts: readonly VirtualHostInit[];
  readonly clusters: ReadonlySet<string>;
  /** Whether the Host of a request still decides anything, once the scope is selected. */
  readonly matchesHosts: boolean;
};
type VirtualHostInit = Exclude<MessageInitShape<typeof VirtualHostSchema>, { $typeName: string }>;

function insecureScope(host: ir.Host, options: ScopeOptions, nameOf: NameOf): Scope {
  const key = httpScope(host.name);
  const clusters = new Set<string>();
  const toSecurePort = redirectOf(host, options);
  const last = host.redirectsUnmatched ? { ...toSecurePort, name: REDIRECT, match: EVERYTHING } : notFound();
  const routes = (host.redirectsUnmatched ? withoutLastRedirects(host.routes) : host.routes).flatMap((route) =>
    insecureMessages(route, toSecurePort, recording(nameOf, clusters)),
  );
  // The scope has selected the host already, in whatever case and with whatever port it was asked for.
  const virtualHosts = [{ name: key, domains: ["*"], routes: [...routes, last] }];
  return { key, virtualHosts, clusters, matchesHosts: false };
}

/** What they do is done for everything that is left; so an edit of a route that is on the secure port only costs one scope. */
function withoutLastRedirects(routes: readonly ir.Route[]): readonly ir.Route[] {
  const lastOther = routes.findLastIndex(({ insecure }) => insecure === "serve");
  return routes.slice(0, lastOther + 1);
}

/**
 * The scope is that of the connection's server name. A request for another host on the same connection would be served
 * under the wrong certificate and TLS version: it is sent away with a 421, upon which browsers open a connection of its own.
 */
function secureScope(host: ir.Host, minimumVersion: ir.TlsVersion | undefined, nameOf: NameOf): Scope {
  const key = httpsScope(host.name);
  const clusters = new Set<string>();
  const routes = host.routes.flatMap((route) =>
    route.secure === "absent" ? [] : routeMessages(route, recording(nameOf, clusters)),
  );
  const virtualHosts = [
    {
      name: key,
      domains: [host.name],
      routes: [...(minimumVersion === undefined ? [] : [refuseBelow(minimumVersion)]), ...routes, notFound()],
    },
    { name: MISDIRECTED, domains: ["*"], routes: [directResponse(MISDIRECTED, EVERYTHING, 421)] },
  ];
  return { key, virtualHosts, clusters, matchesHosts: true };
}

/**
 * The listener ends the handshakes of clients that are too old, but it is another resource: it may come later than the scope,
 * Envoy may refuse it, and connections that were open before it go on. So a host that asks for more than all others do says
 * so itself. Whoever retries a 421 does it on a new connection.
 */
function refuseBelow(version: ir.TlsVersion): RouteInit {
  const allowed = VERSIONS_FROM[version].map((each) => each.replace(".", "\\.")).join("|");
  const regex = `.*:TLSv(${allowed})`;
  const isTooOld = {
    name: SCOPE_HEADER,
    headerMatchSpecifier: {
      case: "stringMatch" as const,
      value: { matchPattern: { case: "safeRegex" as const, value: { regex } } },
    },
    invertMatch: true,
  };
  const match = { pathSpecifier: EVERY_PATH, headers: [isTooOld] };
  return { ...directResponse(TLS_TOO_OLD, match, 421), metadata: WEBSOCKETS_ANSWERED };
}

const VERSIONS_FROM: Readonly<Record<ir.TlsVersion, readonly ir.TlsVersion[]>> = {
  "1.1": ["1.1", "1.2", "1.3"],
  "1.2": ["1.2", "1.3"],
  "1.3": ["1.3"],
};

type NameOf = (cluster: ir.Cluster | undefined) => string;

function recording(nameOf: NameOf, into: Set<string>): NameOf {
  return (cluster) => {
    const name = nameOf(cluster);
    into.add(name);
    return name;
  };
}

function scopeDraft(host: ir.Host, { key, virtualHosts, clusters, matchesHosts }: Scope, digest: Digest): Draft {
  const name = scopeName(key, digest);
  return {
    type: "scopedRoute",
    name,
    nameIsContent: false,
    clusters: [...clusters].sort(),
    origins: host.objects,
    encode: () =>
      encode(ScopedRouteConfigurationSchema, {
        name,
        key: { fragments: [{ type: { case: "stringKey", value: key } }] },
        routeConfiguration: {
          name: key,
          virtualHosts: [...virtualHosts],
          ...(matchesHosts ? { ignorePortInHostMatching: true } : {}),
          requestHeadersToRemove: [SCOPE_HEADER],
          // Otherwise Envoy refuses the whole host for one cluster that it refused before.
          validateClusters: false,
        },
      }),
  };
}

type Match = NonNullable<RouteInit["match"]>;

const EVERY_PATH = { case: "prefix", value: "" } as const;
const EVERYTHING: Match = { pathSpecifier: EVERY_PATH };

function pathMatch({ match: { kind, path } }: ir.Route): Match {
  switch (kind) {
    case "prefix":
      // Envoy refuses a path-separated prefix that ends in a slash.
      return { pathSpecifier: { case: path === "/" ? "prefix" : "pathSeparatedPrefix", value: path } };
    case "exact":
      return { pathSpecifier: { case: "path", value: path } };
    case "stringPrefix":
      return { pathSpecifier: { case: "prefix", value: path } };
    case "regex":
      return { pathSpecifier: { case: "safeRegex", value: { regex: path } } };
  }
}

function directResponse(name: string, match: Match, status: number): RouteInit {
  return { name, match, action: { case: "directResponse", value: { status } } };
}

/** Where clients find https when nothing is said. */
const HTTPS_PORT = 443;

/** To the same host, path and query on the secure port. */
function redirectOf({ name: host }: ir.Host, { redirectPort }: ScopeOptions): RouteInit {
  // Envoy by itself keeps the port of the Host header, which is that of the insecure side.
  const target = host.startsWith("*") ? {} : { hostRedirect: host };
  return {
    metadata: host.startsWith("*.") ? filterMetadata(ANSWERS_WEBSOCKETS, REDIRECTS_TO_HOST) : WEBSOCKETS_ANSWERED,
    action: {
      case: "redirect",
      value: {
        schemeRewriteSpecifier: { case: "httpsRedirect", value: true },
        ...target,
        ...(redirectPort === undefined || redirectPort === HTTPS_PORT ? {} : { portRedirect: redirectPort }),
      },
    },
  };
}

function insecureMessages(route: ir.Route, toSecurePort: RouteInit, nameOf: NameOf): readonly RouteInit[] {
  switch (route.insecure) {
    case "absent":
      return [];
    case "redirect":
      return [{ ...toSecurePort, name: routeName(route.origin), match: pathMatch(route) }];
    case "serve":
      return routeMessages(route, nameOf);
  }
}

/** A route with a rewrite needs two of Envoy's: one for the prefix itself and one for what lies below it. */
function routeMessages(route: ir.Route, nameOf: NameOf): readonly RouteInit[] {
  const name = routeName(route.origin);
  const { path } = route.match;
  const match = pathMatch(route);
  switch (route.action.kind) {
    case "unavailable":
      return [{ ...directResponse(name, match, 503), metadata: WEBSOCKETS_ANSWERED }];
    case "forward": {
      const { shares, prefixRewrite } = route.action;
      const target = { ...forwardTo(shares, nameOf), ...policiesOf(route.action) };
      const named = {
        name,
        ...(route.action.allowsWebsockets ? { metadata: WEBSOCKETS_ANSWERED } : {}),
        ...(route.action.retry === undefined ? {} : { requestBodyBufferLimit: RETRY_BUFFER_BYTES }),
      };
      if (prefixRewrite === undefined) return [{ ...named, match, action: { case: "route", value: target } }];
      // The slash that follows the prefix belongs to the rest: it is neither doubled nor lost.
      const below = withSlash(path);
      return [
        {
          ...named,
          match: { pathSpecifier: { case: "path", value: path } },
          action: { case: "route", value: { ...target, prefixRewrite } },
        },
        {
          ...named,
          match: { pathSpecifier: { case: "prefix", value: below } },
          action: { case: "route", value: { ...target, prefixRewrite: withSlash(prefixRewrite) } },
        },
      ];
    }
  }
}

type RouteAction = Extract<NonNullable<RouteInit["action"]>, { case: "route" }>["value"];
type RouteActionInit = Exclude<RouteAction, { $typeName: string }>;

function forwardTo(shares: readonly ir.Share[], nameOf: NameOf): RouteActionInit {
  const [only, ...others] = shares;
  if (only !== undefined && others.length === 0) {
    return { clusterSpecifier: { case: "cluster", value: nameOf(only.cluster) } };
  }
  const clusters = shares.map(({ weight, cluster }) => ({ name: nameOf(cluster), weight }));
  return { clusterSpecifier: { case: "weightedClusters", value: { clusters } } };
}

/** Connections that carry messages rather than an answer may be silent for hours. */
const WEBSOCKET_IDLE_TIMEOUT_MS = 9_000_000;

function filterMetadata(...keys: readonly string[]): NonNullable<RouteInit["metadata"]> {
  return { filterMetadata: { [FILTER_METADATA]: Object.fromEntries(keys.map((key) => [key, true])) } };
}

/** Envoy tells its filters nothing of what a route does with upgrades. */
const WEBSOCKETS_ANSWERED = filterMetadata(ANSWERS_WEBSOCKETS);

/** The cookie that binds a client to an endpoint. Clients hold it already, so the name cannot change. */
const SESSION_COOKIE = "X-Contour-Session-Affinity";

type Forward = Extract<ir.Action, { readonly kind: "forward" }>;

function policiesOf({ shares, timeout, retry, allowsWebsockets }: Forward): RouteActionInit {
  const idleTimeoutMs = idleTimeoutOf(timeout, allowsWebsockets);
  const bindsSessions = shares.some(({ cluster }) => cluster?.loadBalancing === "sessionCookie");
  return {
    ...(timeout.kind === "proxyDefault" ? {} : { timeout: duration(timeout.kind === "infinite" ? 0 : timeout.ms) }),
    ...(idleTimeoutMs === undefined ? {} : { idleTimeout: duration(idleTimeoutMs) }),
    ...(retry === undefined ? {} : { retryPolicy: retryPolicyOf(retry) }),
    ...(bindsSessions ? { hashPolicy: [SESSION_HASH_POLICY] } : {}),
    // The listener lets websockets get to every route, for those that answer themselves.
    ...(allowsWebsockets ? {} : { upgradeConfigs: [NO_WEBSOCKETS] }),
  };
}

const NO_WEBSOCKETS: NonNullable<RouteActionInit["upgradeConfigs"]>[number] = {
  upgradeType: WEBSOCKET,
  enabled: false,
};

/** Undefined where that of the listener stands. It must not end what the timeout, or the lack of one, lets go on. */
function idleTimeoutOf(timeout: ir.Timeout, allowsWebsockets: boolean): number | undefined {
  if (timeout.kind === "infinite") return 0;
  const needed = Math.max(timeout.kind === "after" ? timeout.ms : 0, allowsWebsockets ? WEBSOCKET_IDLE_TIMEOUT_MS : 0);
  return needed > STREAM_IDLE_TIMEOUT_MS ? needed : undefined;
}

function retryPolicyOf({ on, count, perTryTimeoutMs }: ir.Retry): NonNullable<RouteActionInit["retryPolicy"]> {
  return {
    retryOn: on,
    numRetries: count,
    ...(perTryTimeoutMs === undefined ? {} : { perTryTimeout: duration(perTryTimeoutMs) }),
  };
}

/** With a time to live, even of zero, Envoy sets the cookie where a client has none; zero is until the browser ends. */
const SESSION_HASH_POLICY: NonNullable<RouteActionInit["hashPolicy"]>[number] = {
  policySpecifier: { case: "cookie", value: { name: SESSION_COOKIE, path: "/", ttl: duration(0) } },
};

function withSlash(path: string): string {
  return path.endsWith("/") ? path : `${path}/`;
}

/** Named, because a request that no named route takes is looked up again elsewhere: see the listener's filter. */
function notFound(): RouteInit {
  return directResponse(NO_ROUTE, EVERYTHING, 404);
}
