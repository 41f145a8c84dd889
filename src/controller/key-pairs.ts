import { createECDH, createPrivateKey, type JsonWebKey, type KeyObject, X509Certificate } from "node:crypto";
import { SecretText } from "../api/secret-text.ts";
import type { CaBundle, KeyPair, ReadCertificates } from "../compile/key-pair.ts";
import { type DerValue, readDer, readOid, readTime, TAG } from "./der.ts";
import { type PemBlock, readPem, writePem } from "./pem.ts";

/**
 * Node's OpenSSL reads certificates, and takes more than Envoy's BoringSSL does. Envoy refuses the whole resource then,
 * so what it refuses is found here; test/envoy/certificates.test.ts holds the two together.
 */
export const readCertificates: ReadCertificates = { keyPair: readKeyPair, caBundle: readCaBundle };

export function readKeyPair(certificate: SecretText, key: SecretText): KeyPair {
  const chain = readChain(certificate.reveal(), "tls.crt");
  if (!chain.ok) return chain;
  const [leaf] = chain.certificates;
  if (leaf === undefined) return refuse("tls.crt holds no certificate");
  const fault = leafFault(leaf);
  if (fault !== undefined) return refuse(`the certificate in tls.crt ${fault}`);

  const privateKey = readPrivateKey(key.reveal());
  if (!privateKey.ok) return privateKey;
  if (!leaf.x509.checkPrivateKey(privateKey.key)) {
    const owner = chain.certificates.findIndex(({ x509 }) => x509.checkPrivateKey(privateKey.key));
    const hint = owner < 0 ? "" : `, but to number ${owner + 1}: the host's own certificate must come first`;
    return refuse(`the key in tls.key does not belong to the first certificate in tls.crt${hint}`);
  }
  const parts = privateKey.key.export({ format: "jwk" });
  if (!isConsistent(parts)) return refuse("the key in tls.key contradicts itself");
  return {
    ok: true,
    chainPem: pemOf(chain.certificates),
    // Written from its parts: the form it came in may be one that only OpenSSL reads.
    keyPem: new SecretText(createPrivateKey({ key: parts, format: "jwk" }).export(PKCS8).toString()),
    dnsNames: dnsNames(leaf),
    notBeforeMs: leaf.notBeforeMs,
    notAfterMs: leaf.notAfterMs,
  };
}

export function readCaBundle(authority: SecretText): CaBundle {
  const chain = readChain(authority.reveal(), "ca.crt");
  if (!chain.ok) return chain;
  if (chain.certificates.length === 0) return refuse("ca.crt holds no certificate");
  return { ok: true, bundlePem: pemOf(chain.certificates) };
}

type Refusal = { readonly ok: false; readonly reason: string };

type Certificate = {
  readonly x509: X509Certificate;
  readonly subject: DerValue;
  readonly publicKey: DerValue;
  readonly extensions: readonly Extension[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
};

type Extension = { readonly id: string; readonly value: Uint8Array };

const ID = {
  commonName: "2.5.4.3",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  tlsFeature: "1.3.6.1.5.5.7.1.24",
};

/** Tags of a `subjectAltName`. */
const NAME_TAG = { dns: 0x82, uri: 0x86, ip: 0x87 };

/** OpenSSL's names of the elliptic curves that Envoy takes. */
const CURVES: Readonly<Record<string, string>> = { "P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1" };

const PKCS8 = { type: "pkcs8", format: "pem" } as const;

const CERTIFICATE = "CERTIFICATE";

function readChain(
  text: string,
  where: string,
): Refusal | { readonly ok: true; readonly certificates: readonly Certificate[] } {
  const blocks = readPem(text);
  if (blocks === undefined) return refuse(`${where} holds a PEM block that has no proper end`);
  const found = blocks.filter(({ label }) => label === CERTIFICATE || label === `X509 ${CERTIFICATE}`);
  const certificates: Certificate[] = [];
  for (const [i, { der }] of found.entries()) {
    const certificate = der && readCertificate(der);
    if (certificate === undefined) return refuse(`certificate number ${i + 1} in ${where} cannot be read`);
    certificates.push(certificate);
  }
  return { ok: true, certificates };
}

function readCertificate(der: Buffer): Certificate | undefined {
  const [body] = readDer(der)?.children ?? [];
  const x509 = body && parseX509(der);
  if (body === undefined || x509 === undefined) return undefined;
  const [first] = body.children;
  const versioned = first?.tag === 0xa0;
  const fields = versioned ? body.children.slice(1) : body.children;
  const version = versioned ? first.children[0]?.body[0] : 0;
  const [, , , validity, subject, publicKey] = fields;
  const extensionList = fields.find(({ tag }) => tag === 0xa3)?.children[0];
  const [notBefore, notAfter] = validity?.children ?? [];
  const notBeforeMs = notBefore && readTime(notBefore);
  const notAfterMs = notAfter && readTime(notAfter);
  if (subject === undefined || publicKey === undefined || notBeforeMs === undefined || notAfterMs === undefined) {
    return undefined;
  }
  // Only version 3, which is written as 2, has extensions.
  if (version === undefined || version > 2 || (extensionList !== undefined && version !== 2)) return undefined;
  const extensions = extensionList?.children.flatMap(readExtension) ?? [];
  return { x509, subject, publicKey, extensions, notBeforeMs, notAfterMs };
}

function parseX509(der: Buffer): X509Certificate | undefined {
  try {
    return new X509Certificate(der);
  } catch {
    // OpenSSL's words for it help nobody.
    return undefined;
  }
}

function readExtension({ children }: DerValue): readonly Extension[] {
  const [id] = children;
  const value = children.at(-1);
  return id === undefined || value === undefined ? [] : [{ id: readOid(id), value: value.body }];
}

/** Why Envoy would not present the certificate, as the rest of a sentence about it. */
function leafFault(leaf: Certificate): string | undefined {
  const publicKey = publicKeyOf(leaf.x509);
  const keyFault =
    publicKey === undefined ? "has a key that cannot be read" : publicKeyFault(publicKey, leaf.publicKey);
  if (keyFault !== undefined) return keyFault;
  const usage = leaf.extensions.find(({ id }) => id === ID.keyUsage);
  if (usage !== undefined) {
    const bits = readDer(usage.value);
    // The first byte counts unused bits; the first bit after it is digitalSignature.
    const [, first] = bits?.tag === TAG.bitString ? bits.body : [];
    if (first === undefined) return "has a keyUsage that cannot be read";
    if (publicKey?.asymmetricKeyType === "ec" && (first & 0x80) === 0) return "may not sign (keyUsage)";
  }
  if (leaf.extensions.some(({ id }) => id === ID.tlsFeature)) return "demands OCSP stapling, which there is not";
  const commonName = commonNameOf(leaf.subject);
  if (commonName?.length === 0) return "has an empty common name";
  const isNamed = alternativeNames(leaf).some(({ tag }) => Object.values(NAME_TAG).includes(tag));
  return commonName === undefined && !isNamed ? "names no host" : undefined;
}

function publicKeyOf(x509: X509Certificate): KeyObject | undefined {
  try {
    return x509.publicKey;
  } catch {
    // A kind of key that OpenSSL does not know.
    return undefined;
  }
}

function publicKeyFault({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject, info: DerValue): string | undefined {
  const [algorithm, bits] = info.children;
  const parameters = algorithm?.children[1];
  // A key is a number of whole bytes.
  if (bits?.body[0] !== 0) return "has a key that cannot be read";
  switch (asymmetricKeyType) {
    case "rsa": {
      if (parameters?.tag !== TAG.null) return "has an RSA key with unknown parameters";
      const { modulusLength = 0, publicExponent = 0n } = asymmetricKeyDetails ?? {};
      if (modulusLength < 2048) return "has an RSA key of less than 2048 bits, which Envoy refuses";
      if (modulusLength > 16384) return "has an RSA key of more than 16384 bits, which Envoy refuses";
      // BoringSSL's bounds: odd, more than one, and at most 33 bits.
      const isUsual = publicExponent >= 3n && publicExponent < 1n << 33n && publicExponent % 2n === 1n;
      return isUsual ? undefined : "has an RSA key with an exponent that Envoy refuses";
    }
    case "ed25519":
      return undefined;
    case "ec": {
      // Curves can also be spelled out, and points be written in two more ways, which Envoy does not take.
      const isUsual = parameters?.tag === TAG.objectIdentifier && bits.body[1] === 0x04;
      return isUsual && Object.values(CURVES).includes(asymmetricKeyDetails?.namedCurve ?? "")
        ? undefined
        : "has an EC key that Envoy refuses; it takes those on P-256, P-384 and P-521";
    }
    default:
      return `has a key of the type ${asymmetricKeyType}; Envoy takes RSA, EC (P-256, P-384, P-521) and Ed25519`;
  }
}

function commonNameOf(subject: DerValue): Uint8Array | undefined {
  for (const { children } of subject.children) {
    for (const attribute of children) {
      const [id, value] = attribute.children;
      if (id !== undefined && readOid(id) === ID.commonName) return value?.body;
    }
  }
  return undefined;
}

function alternativeNames({ extensions }: Certificate): readonly DerValue[] {
  const extension = extensions.find(({ id }) => id === ID.subjectAltName);
  return (extension && readDer(extension.value)?.children) ?? [];
}

function dnsNames(leaf: Certificate): readonly string[] {
  const names = alternativeNames(leaf).filter(({ tag }) => tag === NAME_TAG.dns);
  return names.map(({ body }) => Buffer.from(body).toString("latin1").toLowerCase());
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

/** Whether the parts of a key fit each other, as far as BoringSSL looks: OpenSSL believes what is written. */
function isConsistent(jwk: JsonWebKey): boolean {
  if (jwk.kty === "EC") {
    const point = Buffer.concat([Buffer.from([4]), bytesOf(jwk.x), bytesOf(jwk.y)]);
    try {
      const ecdh = createECDH(CURVES[jwk.crv ?? ""] ?? "");
      ecdh.setPrivateKey(bytesOf(jwk.d));
      return ecdh.getPublicKey().equals(point);
    } catch {
      // A number that is no key on this curve.
      return false;
    }
  }
  // The public half of an Ed25519 key is computed, so that it always fits.
  if (jwk.kty === "OKP") return true;
  const [n, e, d, p, q, dp, dq, qi] = [jwk.n, jwk.e, jwk.d, jwk.p, jwk.q, jwk.dp, jwk.dq, jwk.qi].map(numberOf);
  if (!n || !e || !d || !p || !q || !dp || !dq || !qi || p === 1n || q === 1n) return false;
  return (
    p * q === n &&
    (d * e) % (p - 1n) === 1n &&
    (d * e) % (q - 1n) === 1n &&
    d % (p - 1n) === dp &&
    d % (q - 1n) === dq &&
    (qi * q) % p === 1n
  );
}

function bytesOf(base64url: string | undefined): Buffer {
  return Buffer.from(base64url ?? "", "base64url");
}

function numberOf(base64url: string | undefined): bigint {
  return BigInt(`0x0${bytesOf(base64url).toString("hex")}`);
}

function pemOf(certificates: readonly Certificate[]): string {
  return certificates.map(({ x509 }) => writePem(CERTIFICATE, x509.raw)).join("");
}

function refuse(reason: string): Refusal {
  return { ok: false, reason };
}
