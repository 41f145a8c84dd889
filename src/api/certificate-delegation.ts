import { type Notes, ObjectReader } from "./decode.ts";
import { decodeMetadata, type Metadata } from "./metadata.ts";
import { unknownFieldRule } from "./unknown-fields.ts";

/** A contour.heptio.com/v1beta1 TLSCertificateDelegation: lets roots of other namespaces use Secrets of its own. */
export type CertificateDelegation = {
  readonly kind: "TLSCertificateDelegation";
  readonly metadata: Metadata;
  /** Items keep the places they have in the object. */
  readonly delegations: readonly DelegatedSecret[];
  readonly notes: Notes;
};

export type DelegatedSecret = {
  readonly secretName: string | undefined;
  /** `*` anywhere in the list is every namespace. */
  readonly targetNamespaces: readonly string[];
};

/** Whatever stands in a delegation beyond its fields may have been meant to narrow it. */
const unknownField = unknownFieldRule({ isStrict: () => true, likelyIntent: {} });

export function decodeCertificateDelegation(raw: unknown): CertificateDelegation {
  const { reader, notes } = ObjectReader.open(raw, unknownField);
  const { metadata } = decodeMetadata(reader);
  const spec = requiredIn(reader, "spec", (key) => reader.object(key));
  const delegations = spec && requiredIn(spec, "delegations", (key) => spec.objects(key));
  const delegation: CertificateDelegation = {
    kind: "TLSCertificateDelegation",
    metadata,
    delegations: delegations?.map(decodeDelegatedSecret) ?? [],
    notes,
  };
  spec?.end();
  reader.ignore("apiVersion", "kind", "status").end();
  return delegation;
}

function decodeDelegatedSecret(reader: ObjectReader): DelegatedSecret {
  const delegated: DelegatedSecret = {
    secretName: requiredIn(reader, "secretName", (key) => reader.string(key)),
    targetNamespaces: requiredIn(reader, "targetNamespaces", (key) => reader.strings(key)) ?? [],
  };
  reader.end();
  return delegated;
}

function requiredIn<T>(reader: ObjectReader, key: string, read: (key: string) => T | undefined): T | undefined {
  if (!reader.has(key)) reader.fault(key, "is required");
  return read(key);
}
