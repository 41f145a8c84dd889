import { decodeBase64 } from "./base64.ts";
import { type Notes, ObjectReader } from "./decode.ts";
import { decodeMetadata, type Metadata } from "./metadata.ts";
import { SecretText } from "./secret-text.ts";

/**
 * A core/v1 Secret, trimmed to what TLS needs: other values never get in. Even certificates are kept from view, as people
 * put certificate and key into one text.
 */
export type Secret = {
  readonly kind: "Secret";
  readonly metadata: Metadata;
  /** Such as `kubernetes.io/tls`; `Opaque` where none is given. */
  readonly type: string;
  /** PEM text, as far as it is known: an empty value counts as given. */
  readonly certificate: SecretText | undefined;
  readonly key: SecretText | undefined;
  readonly authority: SecretText | undefined;
  readonly notes: Notes;
};

export function decodeSecret(raw: unknown): Secret {
  const { reader, notes } = ObjectReader.open(raw, () => ({ refuse: false, reason: "" }));
  const { metadata } = decodeMetadata(reader);
  const data = reader.object("data");
  // An API server turns `stringData` into `data`, over what is there; in a file it may still stand for itself.
  const stringData = reader.object("stringData");
  const value = (key: string): SecretText | undefined => {
    const plain = stringData?.string(key);
    const encoded = data?.string(key);
    if (plain !== undefined) return new SecretText(plain);
    if (encoded === undefined) return undefined;
    const bytes = decodeBase64(encoded);
    if (bytes === undefined) {
      data?.fault(key, "must be base64; text as it is goes into stringData");
      return undefined;
    }
    return new SecretText(new TextDecoder().decode(bytes));
  };
  return {
    kind: "Secret",
    metadata,
    type: reader.string("type") ?? "Opaque",
    certificate: value("tls.crt"),
    key: value("tls.key"),
    authority: value("ca.crt"),
    notes,
  };
}
