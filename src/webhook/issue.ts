// The X.509 library needs it, before anything else of it is loaded.
import "reflect-metadata";
import { webcrypto } from "node:crypto";
import { isIP } from "node:net";
import {
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { SecretText } from "../api/secret-text.ts";

/** A certificate that only one authority vouches for, which has issued nothing else and never will: its key is gone. */
export type IssuedPair = {
  /** The certificate, then that of its authority. */
  readonly chainPem: string;
  readonly key: SecretText;
};

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
/** Clocks of other machines may be behind. */
const BACKDATED_MS = 60 * 60 * 1000;

/** A new authority, and a certificate of it for these host names and addresses. */
export async function issuePair(request: {
  readonly names: readonly string[];
  readonly nowMs: number;
  readonly lifetimeMs: number;
}): Promise<IssuedPair> {
  const [authorityKeys, keys] = await Promise.all([newKeys(), newKeys()]);
  const validity = {
    notBefore: new Date(request.nowMs - BACKDATED_MS),
    notAfter: new Date(request.nowMs + request.lifetimeMs),
  };
  const authority = await X509CertificateGenerator.createSelfSigned(
    {
      ...validity,
      name: "CN=Isoline webhook authority",
      keys: authorityKeys,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      ],
    },
    webcrypto,
  );
  const certificate = await X509CertificateGenerator.create(
    {
      ...validity,
      subject: "CN=Isoline webhook",
      issuer: authority.subject,
      publicKey: keys.publicKey,
      signingKey: authorityKeys.privateKey,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
        new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
        new SubjectAlternativeNameExtension(
          request.names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value })),
        ),
      ],
    },
    webcrypto,
  );
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
  return {
    chainPem: `${certificate.toString("pem")}\n${authority.toString("pem")}\n`,
    key: new SecretText(`-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`),
  };
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}
