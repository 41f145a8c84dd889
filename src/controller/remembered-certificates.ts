import type { SecretText } from "../api/secret-text.ts";
import type { CaBundle, KeyPair, ReadCertificates } from "../compile/key-pair.ts";

/**
 * Answers the same question once for as long as the Secret is as it is: reading a key pair takes up to a millisecond, and
 * every change of a host asks for its own again. Forgets with the Secret, because it is held by nothing else.
 */
export function rememberedCertificates({ keyPair, caBundle }: ReadCertificates): ReadCertificates {
  const pairs = new WeakMap<SecretText, { readonly key: SecretText; readonly answer: KeyPair }>();
  const bundles = new WeakMap<SecretText, CaBundle>();
  return {
    keyPair: (certificate, key) => {
      const known = pairs.get(certificate);
      if (known?.key === key) return known.answer;
      const answer = keyPair(certificate, key);
      pairs.set(certificate, { key, answer });
      return answer;
    },
    caBundle: (authority) => {
      const answer = bundles.get(authority) ?? caBundle(authority);
      bundles.set(authority, answer);
      return answer;
    },
  };
}
