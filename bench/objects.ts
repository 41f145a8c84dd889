import { decodeEndpointSlice } from "../src/api/endpoint-slice.ts";
import { decodeIngressRoute } from "../src/api/ingress-route.ts";
import type { ObjectChange } from "../src/api/kinds.ts";
import { objectKey } from "../src/api/object-key.ts";
import { decodeSecret } from "../src/api/secret.ts";
import { decodeService } from "../src/api/service.ts";

const NAMESPACE = "bench";

/** A root with a route of its own at `/` and one that answers 503 at each of `broken`. */
export function root(host: string, service: string, broken: readonly string[] = []): ObjectChange {
  return rootWith({ fqdn: `${host}.example.com` }, host, service, broken);
}

/** The same with the certificate of the Secret that is called as the host. */
export function tlsRoot(host: string, service: string, broken: readonly string[] = []): ObjectChange {
  return rootWith({ fqdn: `${host}.example.com`, tls: { secretName: host } }, host, service, broken);
}

function rootWith(virtualhost: unknown, host: string, service: string, broken: readonly string[]): ObjectChange {
  const routes = [
    { match: "/", services: [{ name: service, port: 80 }] },
    ...broken.map((match) => ({ match, services: [{ name: "missing", port: 80 }] })),
  ];
  const raw = { metadata: { name: host, namespace: NAMESPACE }, spec: { virtualhost, routes } };
  return { kind: "applied", key: objectKey("IngressRoute", NAMESPACE, host), object: decodeIngressRoute(raw) };
}

export function secret(name: string, { certPem, keyPem }: { certPem: string; keyPem: string }): ObjectChange {
  const raw = {
    metadata: { name, namespace: NAMESPACE },
    type: "kubernetes.io/tls",
    stringData: { "tls.crt": certPem, "tls.key": keyPem },
  };
  return { kind: "applied", key: objectKey("Secret", NAMESPACE, name), object: decodeSecret(raw) };
}

export function withoutRoot(host: string): ObjectChange {
  return { kind: "deleted", key: objectKey("IngressRoute", NAMESPACE, host) };
}

export function service(name: string): ObjectChange {
  const raw = { metadata: { name, namespace: NAMESPACE }, spec: { ports: [{ port: 80 }] } };
  return { kind: "applied", key: objectKey("Service", NAMESPACE, name), object: decodeService(raw) };
}

/** One endpoint on the loopback. */
export function endpoints(name: string, port: number): ObjectChange {
  const raw = {
    metadata: { name, namespace: NAMESPACE, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports: [{ port }],
    endpoints: [{ addresses: ["127.0.0.1"] }],
  };
  return { kind: "applied", key: objectKey("EndpointSlice", NAMESPACE, name), object: decodeEndpointSlice(raw) };
}
