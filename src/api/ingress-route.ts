import { type Notes, ObjectReader } from "./decode.ts";
import { decodeAnnotations, decodeMetadata, FIELDS_OF_METADATA, type Metadata } from "./metadata.ts";
import { unknownField } from "./unknown-fields.ts";

/**
 * An IngressRoute as it was written, as far as it could be read: fields that could not be are absent and stand in `notes`.
 * Whether the values make sense is for compile to say.
 */
export type IngressRoute = {
  readonly kind: "IngressRoute";
  readonly metadata: Metadata;
  readonly ingressClass: string | undefined;
  /** Present on roots, and only there. */
  readonly virtualHost: VirtualHost | undefined;
  readonly healthCheck: HealthCheck | undefined;
  readonly tcpProxy: TcpProxy | undefined;
  /** Items keep the places they have in the object. */
  readonly routes: readonly Route[];
  readonly notes: Notes;
};

export type VirtualHost = { readonly fqdn: string | undefined; readonly tls: Tls | undefined };

export type Tls = {
  readonly secretName: string | undefined;
  readonly minimumProtocolVersion: string | undefined;
  readonly passthrough: boolean;
};

export type Route = {
  readonly match: string | undefined;
  readonly services: readonly Service[];
  readonly delegate: Delegate | undefined;
  readonly prefixRewrite: string | undefined;
  readonly enableWebsockets: boolean;
  readonly permitInsecure: boolean;
  readonly timeoutPolicy: { readonly request: string | undefined } | undefined;
  readonly retryPolicy: { readonly count: number | undefined; readonly perTryTimeout: string | undefined } | undefined;
};

/** One entry of `services`: a reference to a Kubernetes Service, with the settings of its use. */
export type Service = {
  readonly name: string | undefined;
  readonly port: number | undefined;
  readonly weight: number | undefined;
  readonly strategy: string | undefined;
  readonly healthCheck: HealthCheck | undefined;
  readonly validation: { readonly caSecret: string | undefined; readonly subjectName: string | undefined } | undefined;
};

export type Delegate = { readonly name: string | undefined; readonly namespace: string | undefined };

export type TcpProxy = { readonly services: readonly Service[]; readonly delegate: Delegate | undefined };

export type HealthCheck = {
  readonly path: string | undefined;
  readonly host: string | undefined;
  readonly intervalSeconds: number | undefined;
  readonly timeoutSeconds: number | undefined;
  readonly unhealthyThresholdCount: number | undefined;
  readonly healthyThresholdCount: number | undefined;
};

export function decodeIngressRoute(raw: unknown): IngressRoute {
  const { reader, notes } = ObjectReader.open(raw, unknownField);
  const { metadata, reader: metadataReader } = decodeMetadata(reader);
  const classes = decodeAnnotations(metadataReader, [
    "contour.heptio.com/ingress.class",
    "kubernetes.io/ingress.class",
  ]);
  const spec = reader.object("spec");
  if (spec === undefined && !reader.has("spec")) reader.fault("spec", "is required");
  const ingressRoute: IngressRoute = {
    kind: "IngressRoute",
    metadata,
    ingressClass: classes["contour.heptio.com/ingress.class"] ?? classes["kubernetes.io/ingress.class"],
    virtualHost: spec && decodeVirtualHost(spec),
    healthCheck: spec && decodeHealthCheck(spec),
    tcpProxy: spec && decodeTcpProxy(spec),
    routes: spec?.objects("routes")?.map(decodeRoute) ?? [],
    notes,
  };
  spec?.end();
  metadataReader?.ignore(...FIELDS_OF_METADATA).end();
  reader.ignore("apiVersion", "kind", "status").end();
  return ingressRoute;
}

function decodeVirtualHost(spec: ObjectReader): VirtualHost | undefined {
  if (!spec.has("virtualhost")) return undefined;
  const reader = spec.object("virtualhost");
  // Whoever writes a virtualhost means a root, even where it cannot be read.
  if (reader === undefined) return { fqdn: undefined, tls: undefined };
  const virtualHost = { fqdn: reader.string("fqdn"), tls: decodeTls(reader) };
  reader.end();
  return virtualHost;
}

function decodeTls(virtualHost: ObjectReader): Tls | undefined {
  virtualHost.refuseEmpty("tls");
  const reader = virtualHost.object("tls");
  if (reader === undefined) return undefined;
  const tls: Tls = {
    secretName: reader.string("secretName"),
    minimumProtocolVersion: reader.string("minimumProtocolVersion"),
    passthrough: reader.boolean("passthrough") ?? false,
  };
  reader.end();
  return tls;
}

function decodeRoute(reader: ObjectReader): Route {
  const timeoutPolicy = reader.object("timeoutPolicy");
  const retryPolicy = reader.object("retryPolicy");
  const route: Route = {
    match: reader.string("match"),
    services: reader.objects("services")?.map(decodeService) ?? [],
    delegate: decodeDelegate(reader),
    prefixRewrite: reader.string("prefixRewrite") || undefined,
    enableWebsockets: reader.boolean("enableWebsockets") ?? false,
    permitInsecure: reader.boolean("permitInsecure") ?? false,
    timeoutPolicy: timeoutPolicy && { request: timeoutPolicy.string("request") },
    retryPolicy: retryPolicy && {
      count: retryPolicy.integer("count"),
      perTryTimeout: retryPolicy.string("perTryTimeout"),
    },
  };
  timeoutPolicy?.end();
  retryPolicy?.end();
  reader.end();
  return route;
}

function decodeService(reader: ObjectReader): Service {
  reader.refuseEmpty("validation");
  const validation = reader.object("validation");
  const service: Service = {
    name: reader.string("name"),
    port: reader.integer("port"),
    weight: reader.integer("weight"),
    strategy: reader.string("strategy"),
    healthCheck: decodeHealthCheck(reader),
    validation: validation && {
      caSecret: validation.string("caSecret"),
      subjectName: validation.string("subjectName"),
    },
  };
  validation?.end();
  reader.end();
  return service;
}

function decodeDelegate(parent: ObjectReader): Delegate | undefined {
  const reader = parent.object("delegate");
  if (reader === undefined) return undefined;
  const delegate: Delegate = { name: reader.string("name"), namespace: reader.string("namespace") || undefined };
  reader.end();
  return delegate;
}

function decodeTcpProxy(spec: ObjectReader): TcpProxy | undefined {
  const reader = spec.object("tcpproxy");
  if (reader === undefined) return undefined;
  const tcpProxy: TcpProxy = {
    services: reader.objects("services")?.map(decodeService) ?? [],
    delegate: decodeDelegate(reader),
  };
  reader.end();
  return tcpProxy;
}

function decodeHealthCheck(parent: ObjectReader): HealthCheck | undefined {
  const reader = parent.object("healthCheck");
  if (reader === undefined) return undefined;
  const healthCheck: HealthCheck = {
    path: reader.string("path"),
    host: reader.string("host"),
    intervalSeconds: reader.integer("intervalSeconds"),
    timeoutSeconds: reader.integer("timeoutSeconds"),
    unhealthyThresholdCount: reader.integer("unhealthyThresholdCount"),
    healthyThresholdCount: reader.integer("healthyThresholdCount"),
  };
  reader.end();
  return healthCheck;
}
