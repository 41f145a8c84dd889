import { type DerValue, readDer, readOid, readTime, TAG } from "./der.ts";
import { readPem } from "./pem.ts";

/** What stands in a certificate. */
export type Certificate = {
  readonly der: Buffer;
  readonly value: DerValue;
  readonly subject: DerValue;
  readonly publicKey: DerValue;
  readonly extensions: readonly Extension[];
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
};

type Extension = { readonly id: string; readonly value: Uint8Array };

export const CERTIFICATE = "CERTIFICATE";

/** Of a host's certificates in PEM, which are there once for each host. Clients take about 100 KB in DER, most less. */
export const MAX_CHAIN_BYTES: number = 64 * 1024;

const ID = {
  ecKey: "1.2.840.10045.2.1",
  commonName: "2.5.4.3",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  tlsFeature: "1.3.6.1.5.5.7.1.24",
};

/** Tags of a `subjectAltName`. */
const NAME_TAG = { dns: 0x82, uri: 0x86, ip: 0x87 };

/** The certificates of a PEM text, undefined for a block that is not base64; undefined as a whole where a block has no end. */
export function certificateBlocks(text: string): readonly (Buffer | undefined)[] | undefined {
  const found = readPem(text)?.filter(({ label }) => label === CERTIFICATE || label === `X509 ${CERTIFICATE}`);
  return found?.map(({ der }) => der);
}

/** Undefined for what breaks a rule of DER, and for what has not even the outline of a certificate. */
export function readCertificate(der: Buffer): Certificate | undefined {
  const value = readDer(der);
  const [body] = value?.children ?? [];
  if (value === undefined || body === undefined) return undefined;
  const [first] = body.children;
  const versioned = first?.tag === 0xa0;
  const fields = versioned ? body.children.slice(1) : body.children;
  const version = versioned ? versionOf(first) : 0;
  const [, , issuer, validity, subject, publicKey] = fields;
  const extensionList = fields.find(({ tag }) => tag === 0xa3)?.children[0];
  const [notBefore, notAfter] = validity?.children ?? [];
  const notBeforeMs = notBefore && readTime(notBefore);
  const notAfterMs = notAfter && readTime(notAfter);
  if (subject === undefined || publicKey === undefined || notBeforeMs === undefined || notAfterMs === undefined) {
    return undefined;
  }
  if ([issuer, subject].some((name) => name?.children.some(({ children }) => children.length === 0))) return undefined;
  // Only version 3, which is written as 2, has extensions.
  if (version === undefined || version > 2 || (extensionList !== undefined && version !== 2)) return undefined;
  const extensions = extensionList?.children.flatMap(readExtension) ?? [];
  return { der, value, subject, publicKey, extensions, notBeforeMs, notAfterMs };
}

function versionOf({ children }: DerValue): number | undefined {
  const [number] = children;
  return number?.body.length === 1 ? number.body[0] : undefined;
}

function readExtension({ children }: DerValue): readonly Extension[] {
  const [id] = children;
  const value = children.at(-1);
  return id === undefined || value === undefined ? [] : [{ id: readOid(id), value: value.body }];
}

/** Why Envoy would not present the certificate, whatever its key, as the rest of a sentence about it. */
export function leafFault(leaf: Certificate): string | undefined {
  const usage = leaf.extensions.find(({ id }) => id === ID.keyUsage);
  if (usage !== undefined) {
    const bits = readDer(usage.value);
    // The first byte counts unused bits; the first bit after it is digitalSignature.
    const [, first] = bits?.tag === TAG.bitString ? bits.body : [];
    if (first === undefined) return "has a keyUsage that cannot be read";
    if (hasEcKey(leaf) && (first & 0x80) === 0) return "may not sign (keyUsage)";
  }
  if (leaf.extensions.some(({ id }) => id === ID.tlsFeature)) return "demands OCSP stapling, which there is not";
  const commonName = commonNameOf(leaf.subject);
  if (commonName?.length === 0) return "has an empty common name";
  const isNamed = alternativeNames(leaf).some(({ tag }) => Object.values(NAME_TAG).includes(tag));
  return commonName === undefined && !isNamed ? "names no host" : undefined;
}

function hasEcKey({ publicKey }: Certificate): boolean {
  const id = publicKey.children[0]?.children[0];
  return id !== undefined && readOid(id) === ID.ecKey;
}

/** The names that clients accept the certificate for, in lower case. */
export function dnsNames(leaf: Certificate): readonly string[] {
  const names = alternativeNames(leaf).filter(({ tag }) => tag === NAME_TAG.dns);
  return names.map(({ body }) => Buffer.from(body).toString("latin1").toLowerCase());
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
