import { clusterIdentity } from "../ir/cluster-identity.ts";
import type * as ir from "../ir/ir.ts";
import type { Digest } from "./resource.ts";

/** The cluster without endpoints that stands for every share of traffic that cannot be served. */
export const UNAVAILABLE_CLUSTER = "unavailable";

/**
 * The header that carries the scope of a request from the listener to the scope selection. It never leaves Envoy. The scope
 * ends at the first colon; on the secure port the version of TLS that the client came with follows, as `TLSv1.3`.
 */
export const SCOPE_HEADER = "x-isoline-scope";

/** The namespace of what routes tell the listener's filter in their metadata. */
export const FILTER_METADATA = "envoy.filters.http.lua";

/** Of a route that answers who asks for a websocket: one that lets websockets through, or that answers everybody itself. */
export const ANSWERS_WEBSOCKETS = "answers-websockets";

/** Of a redirect to the host that was asked for: it is to be without its port. */
export const REDIRECTS_TO_HOST = "redirects-to-host";

/** The kind of upgrade, as clients and Envoy name it. */
export const WEBSOCKET = "websocket";

/** Name of the explicit 404 at the end of each host. */
export const NO_ROUTE = "no-route";

/**
 * What the Host of a request may be, in RE2's syntax and JavaScript's: a name or an address, and a port. Whatever else there
 * is leads elsewhere for some backends (`a.example.com:80@elsewhere`, or two hosts), and would do so past the checks that go by
 * the name. One dot at the end of the name is removed before.
 */
export const AUTHORITY = "([-A-Za-z0-9_]+(\\.[-A-Za-z0-9_]+)*|\\[[0-9A-Fa-f:.]+\\])(:[0-9]+)?";

/** The scope of a host's requests on the insecure port: what {@link SCOPE_HEADER} selects it by. */
export function httpScope(host: string): string {
  return `h|${host}`;
}

/** The scope of a host's requests on the secure port, by the server name of the connection. */
export function httpsScope(host: string): string {
  return `s|${host}`;
}

/** What a C++ string holds without memory of its own. */
const SHORT_NAME_BYTES = 22;

/**
 * The name of the resource for a scope. With each update of one scope, each listener of Envoy copies the names of all. At
 * 10,000 hosts that is most of what an edit costs when names are longer than this, so longer ones are replaced by 120 bits of
 * their digest.
 */
export function scopeName(scope: string, digest: Digest): string {
  if (scope.length <= SHORT_NAME_BYTES) return scope;
  const hex = digest(scope);
  const bytes = Array.from({ length: 15 }, (_, i) => Number.parseInt(hex.slice(2 * i, 2 * i + 2), 16));
  const text = btoa(String.fromCharCode(...bytes));
  return `${scope.slice(0, 1)}#${text.replaceAll("+", "-").replaceAll("/", "_")}`;
}

/** Whether a resource of this name may be the scope: always true of {@link scopeName}. */
export function mayBeScope(name: string, scope: string): boolean {
  return name === scope || name.startsWith(`${scope.slice(0, 1)}#`);
}

/** Name of the 421 for a request whose Host is not the server name of its connection. */
export const MISDIRECTED = "misdirected";

/** Name of the 421 for a request on a connection of an older version of TLS than the host asks for. */
export const TLS_TOO_OLD = "tls-too-old";

/** Name of the redirect of requests that no route takes on the insecure port of a TLS host. */
export const REDIRECT = "redirect";

/**
 * `namespace/service/port/hash`, with the hash taken over everything in the cluster: the name determines the content, so that
 * a change makes a new cluster and Envoy can warm it before the old one goes.
 */
export function clusterName(cluster: ir.Cluster, digest: Digest): string {
  const { namespace, name, port } = cluster.service;
  return joined(namespace, name, port, digest(clusterIdentity(cluster)).slice(0, 16));
}

/** The cluster that a share of traffic goes to. */
export function shareName(cluster: ir.Cluster | undefined, digest: Digest): string {
  return cluster === undefined ? UNAVAILABLE_CLUSTER : clusterName(cluster, digest);
}

/** `namespace/service/portName`: shared by all clusters of this port. The last part is empty for an unnamed port. */
export function loadAssignmentName({ namespace, service, portName }: ir.ServicePort): string {
  return joined(namespace, service, portName);
}

/** The key of a Service, as the origin of what was made of it. */
export function serviceOrigin(namespace: string, service: string): string {
  return joined("Service", namespace, service);
}

/** Of names there are many, and they are kept: in one piece, as a template would keep its parts. */
function joined(...parts: readonly (string | number)[]): string {
  return parts.join("/");
}

/** Names an Envoy route by what made it, so that an access log says which line of which object answered. */
export function routeName(origin: ir.Origin): string {
  return `${origin.object} ${origin.at}`;
}
