import type { KubeObject, ObjectRef } from "../../test/parts/kube-admin.ts";

export const NAMESPACE = "bench";
/** Of every Service; the backends listen there on all addresses of the pod network. */
export const BACKEND_PORT = 8080;

/** The number of the host whose changes are timed, and of one to which a route of it is led. */
export const EDITED = 0;
export const NEIGHBOUR = 1;

/** Number `index` of those that are there for good. */
export function hostName(index: number): string {
  return `host-${index}`;
}

export function fqdnOf(name: string): string {
  return `${name}.example.com`;
}

/** The address of the only endpoint of a Service, or another one of the pod network where the backends answer as well. */
export function podAddress(index: number, isOther = false): string {
  return `10.244.${(isOther ? 128 : 1) + (index >> 8)}.${index & 255}`;
}

export type Host = { readonly name: string; readonly address: string };

/** What makes a host: a root, a Service and an EndpointSlice of its own. */
export function objectsOf({ name, address }: Host): {
  readonly root: KubeObject;
  readonly others: readonly KubeObject[];
} {
  return { root: rootOf(name), others: [serviceOf(name), sliceOf(name, address)] };
}

/** The routes of a root: all requests go to its own Service, but for one prefix perhaps. */
export function routesOf(
  name: string,
  elsewhere?: { readonly match: string; readonly service: string },
): readonly unknown[] {
  const routes = [{ match: "/", service: name }, ...(elsewhere === undefined ? [] : [elsewhere])];
  return routes.map(({ match, service }) => ({ match, services: [{ name: service, port: BACKEND_PORT }] }));
}

/** One endpoint, as the endpoint controller writes it. */
export function endpointsAt(address: string): readonly unknown[] {
  return [{ addresses: [address], conditions: { ready: true, serving: true, terminating: false } }];
}

export function refTo(kind: "IngressRoute" | "Service" | "EndpointSlice", name: string): ObjectRef {
  return { kind, namespace: NAMESPACE, name };
}

function rootOf(name: string): KubeObject {
  const spec = { virtualhost: { fqdn: fqdnOf(name) }, routes: routesOf(name) };
  return { apiVersion: "contour.heptio.com/v1beta1", kind: "IngressRoute", metadata: metadataOf(name), spec };
}

/** Without an address of its own: the API server finds one for each of many only slowly. */
function serviceOf(name: string): KubeObject {
  const spec = { clusterIP: "None", selector: { app: name }, ports: [{ port: BACKEND_PORT }] };
  return { apiVersion: "v1", kind: "Service", metadata: metadataOf(name), spec };
}

function sliceOf(name: string, address: string): KubeObject {
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { ...metadataOf(name), labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ port: BACKEND_PORT }],
    endpoints: endpointsAt(address),
  };
}

function metadataOf(name: string): KubeObject["metadata"] {
  return { namespace: NAMESPACE, name };
}
