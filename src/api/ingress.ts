import type { Annotation } from "./annotations.ts";
import { type Notes, ObjectReader } from "./decode.ts";
import { decodeClassAnnotation, decodeIngressAnnotations, type IngressAnnotations } from "./ingress-annotations.ts";
import { decodeMetadata, type Metadata } from "./metadata.ts";
import { unknownFieldRule } from "./unknown-fields.ts";

/**
 * An Ingress of networking.k8s.io/v1, or of one of the two beta versions, as far as it could be read: fields that could
 * not be are absent and stand in `notes`. Whether the values make sense is for compile to say.
 */
export type Ingress = {
  readonly kind: "Ingress";
  readonly metadata: Metadata;
  readonly ingressClass: {
    readonly annotation: Annotation | undefined;
    /** `spec.ingressClassName`. */
    readonly name: string | undefined;
  };
  readonly annotations: IngressAnnotations;
  readonly defaultBackend: IngressBackend | undefined;
  /** Items keep the places they have in the object. */
  readonly rules: readonly IngressRule[];
  readonly tls: readonly IngressTls[];
  /** The field path of the default backend, which differs between versions. */
  readonly defaultBackendAt: string;
  readonly notes: Notes;
};

/** `host` is absent for every host; no paths means that the default backend gets all of the host. */
export type IngressRule = { readonly host: string | undefined; readonly paths: readonly IngressPath[] };

export type IngressPath = {
  readonly path: string | undefined;
  readonly pathType: PathType | undefined;
  readonly backend: IngressBackend | undefined;
};

export type PathType = (typeof PATH_TYPES)[number];

export type IngressBackend =
  | { readonly kind: "service"; readonly service: string; readonly port: IngressPort }
  /** An object of some other kind, such as a bucket of files. */
  | { readonly kind: "resource" };

export type IngressPort =
  | { readonly kind: "number"; readonly number: number }
  | { readonly kind: "name"; readonly name: string };

export type IngressTls = { readonly hosts: readonly string[]; readonly secretName: string | undefined };

const PATH_TYPES = ["Exact", "Prefix", "ImplementationSpecific"] as const;

const unknownField = unknownFieldRule({
  isStrict: () => false,
  likelyIntent: {
    serviceName: "networking.k8s.io/v1 has service: {name, port: {number}}",
    servicePort: "networking.k8s.io/v1 has service: {name, port: {number}}",
    backend: "networking.k8s.io/v1 has spec.defaultBackend",
    defaultBackend: "only networking.k8s.io/v1 has it; here it is spec.backend",
    service: "only networking.k8s.io/v1 has it; here it is serviceName and servicePort",
    paths: "it belongs under http",
  },
});

export function decodeIngress(raw: unknown): Ingress {
  const { reader, notes } = ObjectReader.open(raw, unknownField);
  const { metadata, reader: metadataReader } = decodeMetadata(reader);
  const isV1 = reader.string("apiVersion") === "networking.k8s.io/v1";
  const decodeBackend = isV1 ? decodeV1Backend : decodeBetaBackend;
  const defaultBackendKey = isV1 ? "defaultBackend" : "backend";
  const spec = reader.object("spec");
  if (spec === undefined && !reader.has("spec")) reader.fault("spec", "is required");
  const ingress: Ingress = {
    kind: "Ingress",
    metadata,
    ingressClass: {
      annotation: decodeClassAnnotation(metadataReader),
      name: spec?.string("ingressClassName") || undefined,
    },
    annotations: decodeIngressAnnotations(metadataReader),
    defaultBackend: spec && decodeBackend(spec, defaultBackendKey),
    rules: spec?.objects("rules")?.map((rule) => decodeRule(rule, isV1, decodeBackend)) ?? [],
    tls: spec?.objects("tls")?.map(decodeTls) ?? [],
    defaultBackendAt: `spec.${defaultBackendKey}`,
    notes,
  };
  spec?.end();
  reader.ignore("kind", "status").end();
  return ingress;
}

type DecodeBackend = (parent: ObjectReader, key: string) => IngressBackend | undefined;

function decodeRule(reader: ObjectReader, isV1: boolean, decodeBackend: DecodeBackend): IngressRule {
  const http = reader.object("http");
  const rule: IngressRule = {
    host: reader.string("host") || undefined,
    paths: http?.objects("paths")?.map((path) => decodePath(path, isV1, decodeBackend)) ?? [],
  };
  http?.end();
  reader.end();
  return rule;
}

function decodePath(reader: ObjectReader, isV1: boolean, decodeBackend: DecodeBackend): IngressPath {
  if (!reader.has("backend")) reader.fault("backend", "is required");
  const path: IngressPath = {
    path: reader.string("path") || undefined,
    pathType: decodePathType(reader, isV1),
    backend: decodeBackend(reader, "backend"),
  };
  reader.end();
  return path;
}

function decodePathType(reader: ObjectReader, isV1: boolean): PathType | undefined {
  if (!reader.has("pathType")) {
    if (!isV1) return "ImplementationSpecific";
    reader.fault("pathType", "is required");
    return undefined;
  }
  const text = reader.string("pathType");
  const pathType = PATH_TYPES.find((known) => known === text);
  if (text !== undefined && pathType === undefined) reader.fault("pathType", `must be one of ${PATH_TYPES.join(", ")}`);
  return pathType;
}

function decodeV1Backend(parent: ObjectReader, key: string): IngressBackend | undefined {
  const reader = parent.object(key);
  if (reader === undefined) return undefined;
  const service = reader.object("service");
  if (reader.has("resource")) return decodeResource(reader, service !== undefined);
  if (!reader.has("service")) reader.fault("service", "is required");
  const backend = service && backendOf(service, "name", decodeV1Port(service));
  service?.end();
  reader.end();
  return backend;
}

function decodeV1Port(service: ObjectReader): IngressPort | undefined {
  const reader = service.object("port");
  if (reader === undefined) {
    if (!service.has("port")) service.fault("port", "is required");
    return undefined;
  }
  const number = reader.integer("number");
  const name = reader.string("name") || undefined;
  if (number !== undefined && name !== undefined) reader.fault("name", "does not go together with number");
  else if (number === undefined && name === undefined && !reader.has("number"))
    reader.fault("", "needs number or name");
  reader.end();
  if (name !== undefined) return number === undefined ? { kind: "name", name } : undefined;
  return number === undefined ? undefined : numberedPort(number, () => reader.fault("number", PORT_RANGE));
}

function decodeBetaBackend(parent: ObjectReader, key: string): IngressBackend | undefined {
  const reader = parent.object(key);
  if (reader === undefined) return undefined;
  if (reader.has("resource")) {
    const hasService = [reader.has("serviceName"), reader.has("servicePort")].includes(true);
    return decodeResource(reader, hasService);
  }
  const backend = backendOf(reader, "serviceName", decodeBetaPort(reader));
  reader.end();
  return backend;
}

function decodeBetaPort(reader: ObjectReader): IngressPort | undefined {
  const port = reader.stringOrInteger("servicePort");
  if (port === undefined || port === "") {
    if (port === "" || !reader.has("servicePort")) reader.fault("servicePort", "is required");
    return undefined;
  }
  // A port's name holds a letter, so digits in quotes are a number.
  if (typeof port === "string" && !/^[0-9]+$/.test(port)) return { kind: "name", name: port };
  return numberedPort(Number(port), () => reader.fault("servicePort", PORT_RANGE));
}

/** What is in it is the business of whoever serves such resources. */
function decodeResource(reader: ObjectReader, hasService: boolean): IngressBackend | undefined {
  const resource = reader.object("resource");
  if (hasService) reader.fault("resource", "does not go together with a service");
  reader.end();
  return resource === undefined || hasService ? undefined : { kind: "resource" };
}

const PORT_RANGE = "must be from 1 to 65535";

function numberedPort(number: number, fault: () => void): IngressPort | undefined {
  if (number >= 1 && number <= 65535) return { kind: "number", number };
  fault();
  return undefined;
}

function backendOf(reader: ObjectReader, nameKey: string, port: IngressPort | undefined): IngressBackend | undefined {
  const service = reader.string(nameKey) || undefined;
  if (service === undefined && reader.string(nameKey) !== undefined) reader.fault(nameKey, "is empty");
  else if (!reader.has(nameKey)) reader.fault(nameKey, "is required");
  return service === undefined || port === undefined ? undefined : { kind: "service", service, port };
}

function decodeTls(reader: ObjectReader): IngressTls {
  const tls: IngressTls = {
    hosts: reader.strings("hosts") ?? [],
    secretName: reader.string("secretName") || undefined,
  };
  reader.end();
  return tls;
}
