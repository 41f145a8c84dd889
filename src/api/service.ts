import { type Notes, ObjectReader } from "./decode.ts";
import { decodeMetadata, type Metadata } from "./metadata.ts";

/** A core/v1 Service, trimmed to what routing needs. */
export type KubeService = {
  readonly kind: "Service";
  readonly metadata: Metadata;
  readonly ports: readonly ServicePort[];
  /** Set when `type` is ExternalName. */
  readonly externalName: string | undefined;
  readonly notes: Notes;
};

/** `name` is empty for an unnamed port. */
export type ServicePort = { readonly name: string; readonly port: number; readonly protocol: string };

export function decodeService(raw: unknown): KubeService {
  // Services are other people's API: fields we do not know are none of our business.
  const { reader, notes } = ObjectReader.open(raw, () => ({ refuse: false, reason: "" }));
  const { metadata } = decodeMetadata(reader);
  const spec = reader.object("spec");
  const type = spec?.string("type") ?? "ClusterIP";
  const ports = spec?.objects("ports") ?? [];
  return {
    kind: "Service",
    metadata,
    ports: ports.flatMap((port) => {
      const number = port.integer("port");
      if (number === undefined && !port.has("port")) port.fault("port", "is required");
      return number === undefined
        ? []
        : [{ name: port.string("name") ?? "", port: number, protocol: port.string("protocol") ?? "TCP" }];
    }),
    externalName: type === "ExternalName" ? (spec?.string("externalName") ?? "") : undefined,
    notes,
  };
}
