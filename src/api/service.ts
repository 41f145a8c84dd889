import { type Annotation, decodeOwnAnnotations } from "./annotations.ts";
import { compact } from "./compact.ts";
import { type Notes, ObjectReader } from "./decode.ts";
import { decodeMetadata, type Metadata } from "./metadata.ts";

/** A core/v1 Service, trimmed to what routing needs. */
export type KubeService = {
  readonly kind: "Service";
  readonly metadata: Metadata;
  readonly ports: readonly ServicePort[];
  /** Set when `type` is ExternalName. */
  readonly externalName: string | undefined;
  readonly annotations: ServiceAnnotations;
  /** Whether its EndpointSlices lead to something that answers in its place, on the loopback and in clear text. */
  readonly isStandIn: boolean;
  readonly notes: Notes;
};

/** `name` is empty for an unnamed port. */
export type ServicePort = { readonly name: string; readonly port: number; readonly protocol: string };

/** Names of the annotations that tell how to talk to a Service, without their prefix. */
const ANNOTATIONS = [
  "upstream-protocol.tls",
  "upstream-protocol.h2",
  "upstream-protocol.h2c",
  "max-connections",
  "max-pending-requests",
  "max-requests",
  "max-retries",
] as const;

export type ServiceAnnotations = Readonly<Partial<Record<(typeof ANNOTATIONS)[number], Annotation>>>;

export function decodeService(raw: unknown): KubeService {
  // Services are other people's API: fields we do not know are none of our business.
  const { reader, notes } = ObjectReader.open(raw, () => ({ refuse: false, reason: "" }));
  const { metadata, reader: metadataReader } = decodeMetadata(reader);
  const spec = reader.object("spec");
  const type = spec?.string("type") ?? "ClusterIP";
  const ports = spec?.objects("ports") ?? [];
  return {
    kind: "Service",
    metadata,
    ports: compact(ports.flatMap(decodePort)),
    externalName: type === "ExternalName" ? (spec?.string("externalName") ?? "") : undefined,
    annotations: decodeOwnAnnotations(metadataReader, ANNOTATIONS),
    isStandIn: false,
    notes,
  };
}

/** That of an API server. Each cluster has its own copy. */
const MAX_PORT_NAME_LENGTH = 63;

function decodePort(reader: ObjectReader): readonly ServicePort[] {
  const port = reader.integer("port");
  if (port === undefined && !reader.has("port")) reader.fault("port", "is required");
  if (port === undefined) return [];
  const name = reader.string("name") ?? "";
  if (name.length > MAX_PORT_NAME_LENGTH) {
    reader.fault("name", `must be at most ${MAX_PORT_NAME_LENGTH} characters long`);
    return [];
  }
  return [{ name, port, protocol: reader.string("protocol") ?? "TCP" }];
}
