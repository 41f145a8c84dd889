/**
 * What compile has understood, in plain values that know neither Kubernetes objects nor Envoy messages. Everything a user
 * wrote carries its origin, so that an answer can be explained.
 */

/** Where a value comes from: an object key and a field path in that object. */
export type Origin = { readonly object: string; readonly at: string };

export type Host = {
  /**
   * Lower case, without port. `*.example.com` stands for all hosts with one label more that have no name of their own here,
   * `*` for all that no other name stands for.
   */
  readonly name: string;
  /** The first that matches a path takes it. No two have the same match on the same port. */
  readonly routes: readonly Route[];
  /** Whether what no route takes on the insecure port is sent to the secure one rather than refused. */
  readonly redirectsUnmatched: boolean;
  /** Undefined: the host is not on the secure port. */
  readonly tls: HostTls | undefined;
  /** Set when the secure port forwards the host's connections instead of serving requests; then there are no routes. */
  readonly tcpProxy: TcpProxy | undefined;
  /** Keys of all objects that had a say in this host, sorted. */
  readonly objects: readonly string[];
};

/** With `passthrough` the backend does TLS, otherwise Envoy does. Without shares, connections are closed. */
export type TcpProxy = { readonly passthrough: boolean; readonly shares: readonly Share[] };

export type HostTls = { readonly certificate: Certificate; readonly minimumVersion: TlsVersion };

export type TlsVersion = "1.1" | "1.2" | "1.3";

/** In PEM. The key is wrapped, so that it cannot be printed by accident. */
export type Certificate = {
  readonly chainPem: string;
  readonly keyPem: { readonly reveal: () => string };
  /** The end of its validity, in milliseconds since 1970. It is presented after that as it is. */
  readonly notAfterMs: number;
  /** What named it. */
  readonly origin: Origin;
};

export type Route = {
  readonly match: PathMatch;
  readonly origin: Origin;
  readonly action: Action;
  /** What a request on the insecure port gets: the action, a redirect to the secure port, or what other routes have for it. */
  readonly insecure: "serve" | "redirect" | "absent";
  /** The same for the secure port, if the host is on it at all. */
  readonly secure: "serve" | "absent";
};

export type PathMatch =
  /** By segments: `/blog` matches `/blog` and `/blog/x`, not `/blogger`. It has no trailing slash unless it is `/`. */
  | { readonly kind: "prefix"; readonly path: string }
  | { readonly kind: "exact"; readonly path: string }
  /** By characters: `/blog` matches `/blogger` too. */
  | { readonly kind: "stringPrefix"; readonly path: string }
  /** In the syntax of RE2, for the whole of a path. */
  | { readonly kind: "regex"; readonly path: string };

export type Action =
  | {
      readonly kind: "forward";
      /** At least one; only those with a weight above zero when there are several. */
      readonly shares: readonly Share[];
      readonly prefixRewrite: string | undefined;
      readonly timeout: Timeout;
      readonly retry: Retry | undefined;
      readonly allowsWebsockets: boolean;
    }
  /** The route belongs to something that is broken: it answers 503 rather than fall through to a shorter prefix. */
  | { readonly kind: "unavailable" };

/** How long a request may take, from the end of the request to the end of the response. */
export type Timeout =
  /** Envoy's own, 15 s. */
  { readonly kind: "proxyDefault" } | { readonly kind: "infinite" } | { readonly kind: "after"; readonly ms: number };

export type Retry = {
  /** What is tried again, in Envoy's words. */
  readonly on: string;
  /** How often after the first try. */
  readonly count: number;
  /** Undefined: a try may take as long as the request. */
  readonly perTryTimeoutMs: number | undefined;
};

/** `cluster` is undefined for the share of a service that cannot be used: it answers 503. */
export type Share = { readonly weight: number; readonly cluster: Cluster | undefined };

/** Everything that makes one Envoy cluster differ from another. */
export type Cluster = {
  readonly service: { readonly namespace: string; readonly name: string; readonly port: number };
  readonly endpoints: /** Addresses of the Service's EndpointSlices whose port has this name (empty for an unnamed port). */
    | { readonly kind: "slices"; readonly portName: string }
    /** A name that Envoy resolves itself. */
    | { readonly kind: "dns"; readonly hostname: string };
  /** Whether the backend speaks HTTP/2, with TLS or without. */
  readonly http2: boolean;
  /** Undefined: in clear text. */
  readonly tls: UpstreamTls | undefined;
  readonly circuitBreakers: CircuitBreakers;
} & ClusterPolicies;

/** What the user of a Service chooses, rather than the Service. */
export type ClusterPolicies = {
  readonly loadBalancing: LoadBalancing;
  /** Undefined: every endpoint counts as healthy. */
  readonly healthCheck: HealthCheck | undefined;
};

/** With `sessionCookie`, requests that carry the same cookie go to the same endpoint. */
export type LoadBalancing = "roundRobin" | "leastRequest" | "random" | "sessionCookie";

/** An HTTP request to each endpoint, again and again. */
export type HealthCheck = {
  readonly path: string;
  /** The Host header. */
  readonly host: string;
  readonly intervalSeconds: number;
  readonly timeoutSeconds: number;
  readonly unhealthyThreshold: number;
  readonly healthyThreshold: number;
};

export type UpstreamTls = {
  /** Undefined where no name is known: then none is sent. */
  readonly sni: string | undefined;
  /** Undefined where connections are forwarded as they are, so that nobody knows what is spoken: then none is offered. */
  readonly alpn: "http/1.1" | "h2" | undefined;
  readonly validation: UpstreamValidation | undefined;
};

/** The backend must show a certificate for this name, issued by one of these authorities. */
export type UpstreamValidation = { readonly authorities: Authorities; readonly subjectName: string };

/** Many clusters may have the same: whoever compares them does it by `id`, which is a digest of the PEM text. */
export type Authorities = { readonly id: string; readonly pem: string };

/** Limits of each Envoy for the whole cluster; Envoy's own default stands where one is undefined. */
export type CircuitBreakers = {
  readonly maxConnections: number | undefined;
  readonly maxPendingRequests: number | undefined;
  readonly maxRequests: number | undefined;
  readonly maxRetries: number | undefined;
};

/** One port of a Service, by the name that EndpointSlices know it by; empty for an unnamed port. */
export type ServicePort = { readonly namespace: string; readonly service: string; readonly portName: string };

export type LoadAssignment = ServicePort & {
  /** Sorted, without duplicates. */
  readonly endpoints: readonly { readonly address: string; readonly port: number }[];
  /** By clusters with a health check, only so many are checked, from the first; the others count as healthy. */
  readonly maxChecked: number;
};
