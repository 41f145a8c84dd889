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
  const authority = await newAuthority({ ...request, name: "Isoline webhook authority" });
  const { certificatePem, key } = await authority.issue({
    name: "Isoline webhook",
    names: request.names,
    usage: "serverAuth",
  });
  return { chainPem: certificatePem + authority.certificatePem, key };
}

/** One whose key is nowhere else: when it is forgotten, nobody can issue anything any more. */
export type Authority = {
  readonly certificatePem: string;
  /** A certificate for one side of a connection, good for as long as that of the authority. */
  readonly issue: (request: {
    readonly name: string;
    /** Host names and addresses. */
    readonly names: readonly string[];
    readonly usage: "serverAuth" | "clientAuth";
  }) => Promise<{ readonly certificatePem: string; readonly key: SecretText }>;
};

export async function newAuthority(request: {
  readonly name: string;
  readonly nowMs: number;
  readonly lifetimeMs: number;
}): Promise<Authority> {
  const authorityKeys = await newKeys();
  const validity = {
    notBefore: new Date(request.nowMs - BACKDATED_MS),
    notAfter: new Date(request.nowMs + request.lifetimeMs),
  };
  const authority = await X509CertificateGenerator.createSelfSigned(
    {
      ...validity,
      name: `CN=${request.name}`,
      keys: authorityKeys,
      signingAlgorithm: ALGORITHM,
      extensions: [
        new BasicConstraintsExtension(true, 0, true),
        new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      ],
    },
    webcrypto,
  );
  const issue: Authority["issue"] = async ({ name, names, usage }) => {
    const keys = await newKeys();
    const certificate = await X509CertificateGenerator.create(
      {
        ...validity,
        subject: `CN=${name}`,
        issuer: authority.subject,
        publicKey: keys.publicKey,
        signingKey: authorityKeys.privateKey,
        signingAlgorithm: ALGORITHM,
        extensions: [
          new BasicConstraintsExtension(false, undefined, true),
          new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
          new ExtendedKeyUsageExtension([ExtendedKeyUsage[usage]]),
          new SubjectAlternativeNameExtension(
            names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value })),
          ),
        ],
      },
      webcrypto,
    );
    const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
    return {
      certificatePem: `${certificate.toString("pem")}\n`,
      key: new SecretText(`-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`),
    };
  };
  return { certificatePem: `${authority.toString("pem")}\n`, issue };
}

function newKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}
