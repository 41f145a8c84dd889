import { SecretText } from "../api/secret-text.ts";
import type { KeyPair } from "../compile/key-pair.ts";
import {
  CERTIFICATE,
  type Certificate,
  certificateBlocks,
  dnsNames,
  leafFault,
  MAX_CHAIN_BYTES,
  readCertificate,
} from "./certificates.ts";
import { type DerValue, isOid, TAG } from "./der.ts";
import { readPem, writePem } from "./pem.ts";
import { publicKeyFault, rewriteKey } from "./private-keys.ts";

// OpenSSL takes most of a millisecond to read a key pair, nearly all of it to find out what it has in hand. Nearly all key
// pairs have the same few forms, which are told apart here without it.

/** More than any certificate has, and far below what OpenSSL refuses. */
const MAX_BYTES = 64 * 1024;

/**
 * The reading of a key pair in one of the usual forms that nothing is wrong with. Undefined says nothing but that somebody
 * has to look more closely; what is returned is what they would have found.
 */
export function readUsualKeyPair(certificate: SecretText, key: SecretText): KeyPair | undefined {
  const chain = certificateBlocks(certificate.reveal())?.map((der) => der && readUsualCertificate(der)) ?? [];
  const [leaf] = chain;
  const keyDer = leaf && readUsualKey(key.reveal(), leaf.publicKey);
  if (keyDer === undefined || leaf === undefined) return undefined;
  if ((publicKeyFault(leaf.publicKey) ?? leafFault(leaf)) !== undefined) return undefined;
  let chainPem = "";
  for (const each of chain) {
    if (each === undefined) return undefined;
    chainPem += writePem(CERTIFICATE, each.der);
  }
  if (chainPem.length > MAX_CHAIN_BYTES) return undefined;
  const { notBeforeMs, notAfterMs } = leaf;
  const keyPem = new SecretText(writePem("PRIVATE KEY", keyDer));
  return { ok: true, chainPem, keyPem, dnsNames: dnsNames(leaf), notBeforeMs, notAfterMs };
}

function readUsualCertificate(der: Buffer): Certificate | undefined {
  const certificate = der.length > MAX_BYTES ? undefined : readCertificate(der);
  return certificate && isUsual(certificate.value) ? certificate : undefined;
}

/** Whether it is written so that no reader of certificates could take offence. */
function isUsual({ tag, children }: DerValue): boolean {
  const [body, signedWith, signature, ...more] = children;
  if (tag !== TAG.sequence || more.length > 0) return false;
  if (!isAlgorithm(signedWith) || !isBytes(signature) || body?.tag !== TAG.sequence) return false;
  const [version, serial, toBeSignedWith, issuer, validity, subject, publicKey, extensions, ...others] = body.children;
  const [number, ...numbers] = version?.tag === EXPLICIT_0 ? version.children : [];
  const [list, ...lists] = extensions?.tag === EXPLICIT_3 ? extensions.children : [];
  return (
    others.length + numbers.length + lists.length === 0 &&
    number?.tag === TAG.integer &&
    number.body.length === 1 &&
    serial?.tag === TAG.integer &&
    isAlgorithm(toBeSignedWith) &&
    isName(issuer) &&
    // Its two times have been read.
    validity?.tag === TAG.sequence &&
    validity.children.length === 2 &&
    isName(subject) &&
    isSequenceOf(publicKey, isAlgorithm, isBytes) &&
    list?.tag === TAG.sequence &&
    list.children.length > 0 &&
    list.children.every(isExtension)
  );
}

const EXPLICIT_0 = 0xa0;
const EXPLICIT_3 = 0xa3;

type Is = (value: DerValue | undefined) => boolean;

function isSequenceOf(value: DerValue | undefined, ...parts: readonly Is[]): boolean {
  return (
    value?.tag === TAG.sequence &&
    value.children.length === parts.length &&
    parts.every((isPart, i) => isPart(value.children[i]))
  );
}

const isIdentifier: Is = (value) => value?.tag === TAG.objectIdentifier && isOid(value);
const isNull: Is = (value) => value?.tag === TAG.null;
const isOctets: Is = (value) => value?.tag === TAG.octetString;
const isTrue: Is = (value) => value?.tag === TAG.boolean && value.body.length === 1 && value.body[0] === 0xff;

/** A string of whole bytes. */
const isBytes: Is = (value) => value?.tag === TAG.bitString && value.body[0] === 0;

const isAlgorithm: Is = (value) =>
  isSequenceOf(value, isIdentifier) ||
  isSequenceOf(value, isIdentifier, isNull) ||
  isSequenceOf(value, isIdentifier, isIdentifier);

const isExtension: Is = (value) =>
  isSequenceOf(value, isIdentifier, isOctets) || isSequenceOf(value, isIdentifier, isTrue, isOctets);

const isText: Is = (value) => value !== undefined && TEXT_TAGS.has(value.tag);
const TEXT_TAGS: ReadonlySet<number> = new Set([TAG.utf8String, TAG.printableString, TAG.ia5String]);

const isName: Is = (value) =>
  value?.tag === TAG.sequence &&
  value.children.every(
    ({ tag, children }) => tag === TAG.set && children.length === 1 && isSequenceOf(children[0], isIdentifier, isText),
  );

/** The key of a PEM text, in PKCS#8. */
function readUsualKey(text: string, publicKey: DerValue): Buffer | undefined {
  const block = readPem(text)?.find(({ label }) => label.endsWith("PRIVATE KEY"));
  if (block?.der === undefined || block.isEncrypted) return undefined;
  return rewriteKey(block.label, block.der, publicKey);
}
