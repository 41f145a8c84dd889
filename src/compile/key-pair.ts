import type { SecretText } from "../api/secret-text.ts";
import type { Authorities } from "../ir/ir.ts";

/**
 * What compile asks about the contents of Secrets. Answers come from a library of the platform, so compile is given
 * these functions. They are pure: equal texts have equal answers.
 */
export type ReadCertificates = {
  readonly keyPair: (certificate: SecretText, key: SecretText) => KeyPair;
  readonly caBundle: (authority: SecretText) => CaBundle;
};

/** A certificate with its key, in the form that Envoy takes; or why Envoy would not take it, without any key material. */
export type KeyPair =
  | {
      readonly ok: true;
      /** The certificate and those that lead towards its authority: PEM blocks and nothing else. */
      readonly chainPem: string;
      readonly keyPem: SecretText;
      /** The names that clients accept the certificate for, in lower case; some may begin with `*.`. */
      readonly dnsNames: readonly string[];
      /** Milliseconds since 1970. Whether it is valid now is nothing that compile can know. */
      readonly notBeforeMs: number;
      readonly notAfterMs: number;
    }
  | { readonly ok: false; readonly reason: string };

/** Certificates of authorities to trust: PEM blocks and nothing else, each once; or why they are not handed to Envoy. */
export type CaBundle =
  | { readonly ok: true; readonly authorities: Authorities }
  | { readonly ok: false; readonly reason: string };
