import { fromBinary } from "@bufbuild/protobuf";
import { anyUnpack } from "@bufbuild/protobuf/wkt";
import { ListenerSchema } from "#proto/envoy/config/listener/v3/listener_pb.js";
import type { Route, RouteAction, RouteMatch } from "#proto/envoy/config/route/v3/route_components_pb.js";
import {
  type ScopedRouteConfiguration,
  ScopedRouteConfigurationSchema,
} from "#proto/envoy/config/route/v3/scoped_route_pb.js";
import { type TcpProxy, TcpProxySchema } from "#proto/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import { wildcardOf } from "../ir/wildcard.ts";
import { HTTPS_LISTENER, tcpChain } from "./listeners.ts";
import { AUTHORITY, httpScope, httpsScope, mayBeScope, TLS_TOO_OLD, UNAVAILABLE_CLUSTER } from "./names.ts";
import type { Resource } from "./resource.ts";

/**
 * `host` as in the Host header, `path` as in the request line, with its query if it has one. `serverName` is the one of the
 * TLS connection; without it, the request is one to the insecure port.
 */
export type HttpRequest = { readonly host: string; readonly path: string; readonly serverName?: string };

type MatchesRegex = (regex: string, text: string) => boolean;

/** What Envoy does with a request. `route` is undefined where no route was asked. */
export type RequestAnswer =
  /** There is no certificate for the server name, or nobody to forward its connections to, so there is no request. */
  | { readonly kind: "refused" }
  | { readonly kind: "status"; readonly status: number; readonly route: string | undefined }
  | {
      readonly kind: "forward";
      readonly route: string;
      /** Weights are relative. */
      readonly clusters: readonly { readonly name: string; readonly weight: number }[];
      /** The path as the backend sees it. */
      readonly path: string;
    };

const IS_AUTHORITY = new RegExp(`^${AUTHORITY}$`);

/** Which route a request takes, decided from the encoded resources by the rules that Envoy itself follows. */
export function matchRequest(
  resources: Iterable<Resource>,
  { host, path, serverName }: HttpRequest,
  /** Whether all of a text matches a regular expression of RE2's syntax. */
  matchesRegex: MatchesRegex,
): RequestAnswer {
  const secret = serverName?.toLowerCase();
  const tcpProxy = secret === undefined ? undefined : tcpProxyOf(resources, secret);
  // What is forwarded as it is, passed through or not, is no request to Envoy.
  if (tcpProxy !== undefined) {
    const clusters = tcpClustersOf(tcpProxy);
    const isClosed = clusters.every(({ name }) => name === UNAVAILABLE_CLUSTER);
    return isClosed ? { kind: "refused" } : { kind: "forward", route: "tcpproxy", clusters, path };
  }
  if (secret !== undefined && !hasCertificate(resources, secret)) return { kind: "refused" };
  const normalized = normalizePath(path);
  if (normalized === undefined) return { kind: "status", status: 400, route: undefined };
  const authority = host.replace(/\.(?=:\d+$|$)/, "");
  if (!IS_AUTHORITY.test(authority)) return { kind: "status", status: 400, route: undefined };
  const hostName = authority.split(":")[0] ?? "";
  const scope = secret === undefined ? insecureScopeOf(resources, hostName) : findScope(resources, httpsScope(secret));
  if (secret !== undefined && scope === undefined) {
    // The listener's filter has the last word on names that only a wildcard stands for.
    if (lowerAscii(hostName) !== secret) return { kind: "status", status: 421, route: undefined };
    if (findScope(resources, httpScope(secret)) !== undefined) return { kind: "status", status: 404, route: undefined };
  }
  const byWildcard = secret === undefined ? undefined : findScope(resources, httpsScope(wildcardOf(secret)));
  const virtualHosts = (scope ?? byWildcard)?.routeConfiguration?.virtualHosts ?? [];
  const virtualHost =
    virtualHosts.find(({ domains }) => domains.includes(lowerAscii(hostName))) ??
    virtualHosts.find(({ domains }) => domains.includes(wildcardOf(lowerAscii(hostName)))) ??
    virtualHosts.find(({ domains }) => domains.includes("*"));
  const [pathOnly, query] = splitQuery(normalized);
  for (const route of virtualHost?.routes ?? []) {
    // What it asks for is that the client's TLS be too old, and there is no telling from a request.
    if (route.name === TLS_TOO_OLD) continue;
    const matched = route.match && matchedPart(route.match, pathOnly, matchesRegex);
    if (matched !== undefined) return answer(route, matched, pathOnly, query);
  }
  return { kind: "status", status: 404, route: undefined };
}

/**
 * The path as Envoy's `normalize_path` leaves it, query untouched; undefined for what it answers with 400. Measured on
 * Envoy 1.40: dot segments are resolved, backslashes become slashes, unreserved characters are decoded and the unsafe ones
 * encoded; slashes are not merged and the case of percent-encodings stays.
 */
export function normalizePath(path: string): string | undefined {
  // The characters that Envoy's HTTP/1 parser refuses, and the fragment that its connection manager does.
  if (!path.startsWith("/") || /[^\x21-\x7e]|#/.test(path)) return undefined;
  const [pathOnly, query] = splitQuery(path);
  if (pathOnly.includes("%00")) return undefined;
  const decoded = pathOnly
    .replaceAll("\\", "/")
    .replace(/["<>^`{|}]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`)
    .replace(/%[0-9A-Fa-f]{2}/g, (encoded) => {
      const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
      return /[-.~\w]/.test(character) ? character : encoded;
    });
  const segments: string[] = [];
  const parts = decoded.slice(1).split("/");
  for (const [i, part] of parts.entries()) {
    if (part !== "." && part !== "..") segments.push(part);
    if (part === "..") segments.pop();
    // What a dot segment at the end leaves behind is a folder.
    if ((part === "." || part === "..") && i === parts.length - 1) segments.push("");
  }
  return `/${segments.join("/")}${query}`;
}

/** Exact bytes first, then lower case, then wildcards: as the listener's filter looks for it. */
function insecureScopeOf(resources: Iterable<Resource>, host: string): ScopedRouteConfiguration | undefined {
  for (const candidate of [host, lowerAscii(host), wildcardOf(lowerAscii(host)), "*"]) {
    const scope = findScope(resources, httpScope(candidate));
    if (scope !== undefined) return scope;
  }
  return undefined;
}

function findScope(resources: Iterable<Resource>, key: string): ScopedRouteConfiguration | undefined {
  for (const resource of resources) {
    if (resource.type !== "scopedRoute" || !mayBeScope(resource.name, key)) continue;
    const scope = fromBinary(ScopedRouteConfigurationSchema, resource.body);
    const fragment = scope.key?.fragments[0]?.type;
    if (fragment?.case === "stringKey" && fragment.value === key) return scope;
  }
  return undefined;
}

function tcpProxyOf(resources: Iterable<Resource>, host: string): TcpProxy | undefined {
  for (const { type, name, body } of resources) {
    if (type !== "listener" || name !== HTTPS_LISTENER) continue;
    const chain = fromBinary(ListenerSchema, body).filterChains.find(({ name }) => name === tcpChain(host));
    const config = chain?.filters[0]?.configType;
    if (config?.case === "typedConfig") return anyUnpack(config.value, TcpProxySchema);
  }
  return undefined;
}

function tcpClustersOf({ clusterSpecifier }: TcpProxy): readonly { readonly name: string; readonly weight: number }[] {
  switch (clusterSpecifier.case) {
    case "cluster":
      return [{ name: clusterSpecifier.value, weight: 1 }];
    case "weightedClusters":
      return clusterSpecifier.value.clusters.map(({ name, weight }) => ({ name, weight }));
    case undefined:
      return [];
  }
}

/** A wildcard stands for names, and is none itself. */
function hasCertificate(resources: Iterable<Resource>, name: string): boolean {
  return !name.startsWith("*") && (hasSecret(resources, name) || hasSecret(resources, wildcardOf(name)));
}

function hasSecret(resources: Iterable<Resource>, name: string): boolean {
  for (const resource of resources) if (resource.type === "secret" && resource.name === name) return true;
  return false;
}

function lowerAscii(text: string): string {
  return text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}

function splitQuery(path: string): readonly [string, string] {
  const at = path.indexOf("?");
  return at < 0 ? [path, ""] : [path.slice(0, at), path.slice(at)];
}

/** The part of the path that a prefix rewrite replaces, or undefined when the route does not match. */
function matchedPart(
  { pathSpecifier: specifier }: RouteMatch,
  path: string,
  matchesRegex: MatchesRegex,
): string | undefined {
  switch (specifier.case) {
    case "prefix":
      return path.startsWith(specifier.value) ? specifier.value : undefined;
    case "pathSeparatedPrefix":
      return path === specifier.value || path.startsWith(`${specifier.value}/`) ? specifier.value : undefined;
    case "path":
      return path === specifier.value ? path : undefined;
    case "safeRegex":
      return matchesRegex(specifier.value.regex, path) ? path : undefined;
    case "connectMatcher":
    case "pathMatchPolicy":
    case undefined:
      throw new Error(`no rule for a route match by ${specifier.case}`);
  }
}

function answer({ name, action }: Route, matched: string, path: string, query: string): RequestAnswer {
  switch (action.case) {
    case "directResponse":
      return { kind: "status", status: action.value.status, route: name };
    case "route": {
      const { prefixRewrite } = action.value;
      const rewritten = prefixRewrite === "" ? path : prefixRewrite + path.slice(matched.length);
      return { kind: "forward", route: name, clusters: clustersOf(action.value), path: rewritten + query };
    }
    case "redirect":
      if (action.value.schemeRewriteSpecifier.case !== "httpsRedirect") throw new Error("no rule for this redirect");
      return { kind: "status", status: 301, route: name };
    case "filterAction":
    case "nonForwardingAction":
    case undefined:
      throw new Error(`no rule for the route action ${action.case}`);
  }
}

function clustersOf({ clusterSpecifier }: RouteAction): readonly { readonly name: string; readonly weight: number }[] {
  switch (clusterSpecifier.case) {
    case "cluster":
      return [{ name: clusterSpecifier.value, weight: 1 }];
    case "weightedClusters":
      return clusterSpecifier.value.clusters.map(({ name, weight }) => ({ name, weight: weight ?? 0 }));
    case "clusterHeader":
    case "clusterSpecifierPlugin":
    case "inlineClusterSpecifierPlugin":
    case undefined:
      throw new Error(`no rule for clusters by ${clusterSpecifier.case}`);
  }
}
