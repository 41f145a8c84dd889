import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { inKib } from "../api/kib.ts";
import { SecretText } from "../api/secret-text.ts";
import type { CaBundle, KeyPair, ReadCertificates } from "../compile/key-pair.ts";
import {
  CERTIFICATE,
  type Certificate,
  certificateBlocks,
  dnsNames,
  leafFault,
  MAX_CHAIN_BYTES,
  readCertificate,
} from "./certificates.ts";
import type { DerValue } from "./der.ts";
import { digest } from "./digest.ts";
import { type PemBlock, readPem, writePem } from "./pem.ts";
import { publicKeyFault, rewriteKey } from "./private-keys.ts";
import { readUsualKeyPair } from "./usual-key-pairs.ts";

/**
 * Node's OpenSSL reads certificates, and takes more than Envoy's BoringSSL does. Envoy refuses the whole resource then,
 * so what it refuses is found here; test/envoy/certificates.test.ts holds the two together.
 */
export const readCertificates: ReadCertificates = { keyPair: readKeyPair, caBundle: readCaBundle };

export function readKeyPair(certificate: SecretText, key: SecretText): KeyPair {
  return readUsualKeyPair(certificate, key) ?? readAnyKeyPair(certificate, key);
}

/** The same without the short way for what is usual. */
export function readAnyKeyPair(certificate: SecretText, key: SecretText): KeyPair {
  const chain = readChain(certificate.reveal(), "tls.crt");
  if (!chain.ok) return chain;
  const [leaf] = chain.certificates;
  if (leaf === undefined) return refuse("tls.crt holds no certificate");
  const chainPem = pemOf(chain.certificates);
  if (chainPem.length > MAX_CHAIN_BYTES) {
    return refuse(
      `the certificates in tls.crt have ${inKib(chainPem.length)} KiB, and ${inKib(MAX_CHAIN_BYTES)} are the most: ` +
        "keep the host's own and those that lead to its authority",
    );
  }
  const fault = keyFault(leaf) ?? leafFault(leaf);
  if (fault !== undefined) return refuse(`the certificate in tls.crt ${fault}`);

  const privateKey = readPrivateKey(key.reveal());
  if (!privateKey.ok) return privateKey;
  if (!leaf.x509.checkPrivateKey(privateKey.key)) {
    const owner = chain.certificates.findIndex(({ x509 }) => x509.checkPrivateKey(privateKey.key));
    const hint = owner < 0 ? "" : `, but to number ${owner + 1}: the host's own certificate must come first`;
    return refuse(`the key in tls.key does not belong to the first certificate in tls.crt${hint}`);
  }
  const keyDer = writeKey(privateKey.key, leaf.publicKey);
  if (keyDer === undefined) return refuse("the key in tls.key contradicts itself");
  return {
    ok: true,
    chainPem,
    keyPem: new SecretText(writePem("PRIVATE KEY", keyDer)),
    dnsNames: dnsNames(leaf),
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: leaf.notAfterMs,
  };
}

/**
 * Envoy keeps each cluster's authorities by themselves, in about four times these bytes. All public authorities together
 * are 220 KB.
 */
const MAX_BUNDLE_BYTES = 256 * 1024;

/** In DER. Certificates of authorities have about 1 KB; what makes one large is an extension that nobody reads. */
const MAX_AUTHORITY_BYTES = 16 * 1024;

export function readCaBundle(authority: SecretText): CaBundle {
  const blocks = certificateBlocks(authority.reveal());
  if (blocks === undefined) return refuse("ca.crt holds a PEM block that has no proper end");
  const large = blocks.findIndex((der) => der !== undefined && der.length > MAX_AUTHORITY_BYTES);
  if (large >= 0) {
    return refuse(
      `certificate number ${large + 1} in ca.crt has more than ${inKib(MAX_AUTHORITY_BYTES)} KiB, leave it out`,
    );
  }
  const pem = [...new Set(blocks.map((der) => der && writePem(CERTIFICATE, der)))].join("");
  if (pem.length > MAX_BUNDLE_BYTES) {
    return refuse(
      `the certificates in ca.crt have ${inKib(pem.length)} KiB, and ${inKib(MAX_BUNDLE_BYTES)} are the most: ` +
        "leave out those that issue nothing for the backend",
    );
  }
  const certificates = readAll(blocks, "ca.crt");
  if (!certificates.ok) return certificates;
  if (pem === "") return refuse("ca.crt holds no certificate");
  return { ok: true, authorities: { id: digest(pem), pem } };
}

type Refusal = { readonly ok: false; readonly reason: string };

type Parsed = Certificate & { readonly x509: X509Certificate };

type Chain = { readonly ok: true; readonly certificates: readonly Parsed[] };

function readChain(text: string, where: string): Refusal | Chain {
  const blocks = certificateBlocks(text);
  return blocks === undefined ? refuse(`${where} holds a PEM block that has no proper end`) : readAll(blocks, where);
}

function readAll(blocks: readonly (Buffer | undefined)[], where: string): Refusal | Chain {
  const certificates: Parsed[] = [];
  for (const [i, der] of blocks.entries()) {
    const certificate = der && readCertificate(der);
    const x509 = certificate && parseX509(certificate.der);
    if (certificate === undefined || x509 === undefined)
      return refuse(`certificate number ${i + 1} in ${where} cannot be read`);
    certificates.push({ ...certificate, x509 });
  }
  return { ok: true, certificates };
}

function parseX509(der: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(der);
  } catch {
    // OpenSSL's words for it help nobody.
    return undefined;
  }
}

/** Why Envoy would not take the key that the certificate is for, as the rest of a sentence about it. */
function keyFault({ x509, publicKey }: Parsed): string | undefined {
  const type = keyTypeOf(x509);
  switch (type) {
    case undefined:
      return "has a key that cannot be read";
    case "rsa":
    case "ec":
      return publicKeyFault(publicKey);
    case "ed25519":
      return undefined;
    default:
      return `has a key of the type ${type}; Envoy takes RSA, EC (P-256, P-384, P-521) and Ed25519`;
  }
}

function keyTypeOf(x509: X509Certificate): string | undefined {
  try {
    return x509.publicKey.asymmetricKeyType;
  } catch {
    // A kind of key that OpenSSL does not know.
    return undefined;
  }
}

function readPrivateKey(text: string): Refusal | { readonly ok: true; readonly key: KeyObject } {
  const blocks = readPem(text);
  if (blocks === undefined) return refuse("tls.key holds a PEM block that has no proper end");
  const block = blocks.find(({ label }) => label.endsWith("PRIVATE KEY"));
  if (block === undefined) return refuse("tls.key holds no private key");
  if (block.isEncrypted) return refuse("the key in tls.key is encrypted");
  const key = block.der && parseKey(block.label, block.der);
  if (key === undefined) return refuse("the key in tls.key cannot be read");
  return { ok: true, key };
}

function parseKey(label: PemBlock["label"], der: Buffer): KeyObject | undefined {
  const type = KEY_TYPES[label];
  if (type === undefined) return undefined;
  try {
    return createPrivateKey({ key: der, format: "der", type });
  } catch {
    // OpenSSL's words are for its developers, and must not be trusted with a key.
    return undefined;
  }
}

const KEY_TYPES: Readonly<Record<string, "pkcs8" | "pkcs1" | "sec1">> = {
  "PRIVATE KEY": "pkcs8",
  "RSA PRIVATE KEY": "pkcs1",
  "EC PRIVATE KEY": "sec1",
};

/**
 * In PKCS#8, and with numbers that fit each other. Written anew, because the form it came in may be one that only OpenSSL
 * reads.
 */
function writeKey(key: KeyObject, publicKey: DerValue): Buffer | undefined {
  try {
    const der = key.export({ type: "pkcs8", format: "der" });
    // The public half of an Ed25519 key is computed, so that it always fits.
    return key.asymmetricKeyType === "ed25519" ? der : rewriteKey("PRIVATE KEY", der, publicKey);
  } catch {
    // Numbers that OpenSSL has read and cannot write.
    return undefined;
  }
}

function pemOf(certificates: readonly Certificate[]): string {
  return certificates.map(({ der }) => writePem(CERTIFICATE, der)).join("");
}

function refuse(reason: string): Refusal {
  return { ok: false, reason };
}
