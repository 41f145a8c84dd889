import { type Notes, ObjectReader } from "./decode.ts";
import { decodeAnnotations, decodeMetadata, type Metadata } from "./metadata.ts";

/** A networking.k8s.io/v1 IngressClass. It has no namespace. */
export type IngressClass = {
  readonly kind: "IngressClass";
  readonly metadata: Metadata;
  /** Name of the controller that serves the Ingresses of this class. */
  readonly controller: string | undefined;
  /** The class of Ingresses that name none. */
  readonly isDefault: boolean;
  readonly notes: Notes;
};

const IS_DEFAULT = "ingressclass.kubernetes.io/is-default-class";

export function decodeIngressClass(raw: unknown): IngressClass {
  const { reader, notes } = ObjectReader.open(raw, () => ({ refuse: false, reason: "" }));
  const { metadata, reader: metadataReader } = decodeMetadata(reader);
  const annotations = decodeAnnotations(metadataReader, [IS_DEFAULT]);
  return {
    kind: "IngressClass",
    metadata,
    controller: reader.object("spec")?.string("controller") || undefined,
    isDefault: annotations[IS_DEFAULT] === "true",
    notes,
  };
}
