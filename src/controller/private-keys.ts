import { createECDH } from "node:crypto";
import { type DerValue, readDer, readOid, TAG, writeDer } from "./der.ts";

// Keys are read from their DER: Node's OpenSSL believes what is written, and asking a damaged key for its parts by
// `asymmetricKeyDetails`, or as a JSON web key, ends the process.

/** How the numbers of an RSA or EC key and of its public key are written, and what Envoy takes of them. */
type Algorithm = {
  /** The label of a key that is not wrapped in PKCS#8. */
  readonly label: string;
  /** Why Envoy takes no certificate with this public key, as the rest of a sentence about it. */
  readonly publicFault: (publicKey: PublicKey) => string | undefined;
  /** The key in the only form that OpenSSL writes, if it is that of the public key and its numbers fit each other. */
  readonly rewrite: (key: DerValue, publicKey: PublicKey, isWrapped: boolean) => Uint8Array | undefined;
};

/** What a certificate says of its key. */
type PublicKey = { readonly parameters: DerValue | undefined; readonly bytes: Uint8Array };

const EC_FAULT = "has an EC key that Envoy refuses; it takes those on P-256, P-384 and P-521";
const UNREADABLE = "has a key that cannot be read";

const ALGORITHMS: Readonly<Record<string, Algorithm>> = {
  "1.2.840.113549.1.1.1": { label: "RSA PRIVATE KEY", publicFault: rsaFault, rewrite: rewriteRsa },
  "1.2.840.10045.2.1": { label: "EC PRIVATE KEY", publicFault: ecFault, rewrite: rewriteEc },
};

/** The elliptic curves that Envoy takes, by their identifier: OpenSSL's name and the bytes of a number. */
const CURVES: Readonly<Record<string, { readonly name: string; readonly size: number }>> = {
  "1.2.840.10045.3.1.7": { name: "prime256v1", size: 32 },
  "1.3.132.0.34": { name: "secp384r1", size: 48 },
  "1.3.132.0.35": { name: "secp521r1", size: 66 },
};

/** Why Envoy takes no certificate with this RSA or EC key, as the rest of a sentence about it. */
export function publicKeyFault(publicKey: DerValue): string | undefined {
  const opened = open(publicKey);
  return opened === undefined ? UNREADABLE : opened.algorithm.publicFault(opened);
}

/**
 * An RSA or EC key in PKCS#8, as OpenSSL writes it. Undefined for one that is not written in the usual way, does not belong to
 * the public key of a certificate, or contradicts itself as far as BoringSSL looks.
 */
export function rewriteKey(label: string, key: Uint8Array, publicKey: DerValue): Buffer | undefined {
  const [identifier] = publicKey.children;
  const opened = open(publicKey);
  const value = readDer(key);
  if (opened === undefined || identifier === undefined || value?.tag !== TAG.sequence) return undefined;
  const isWrapped = label === "PRIVATE KEY";
  if (!isWrapped && label !== opened.algorithm.label) return undefined;
  const inner = isWrapped ? unwrap(value, identifier) : value;
  const written = inner && opened.algorithm.rewrite(inner, opened, isWrapped);
  return written && writeDer(TAG.sequence, ZERO, whole(identifier), writeDer(TAG.octetString, written));
}

const ZERO = writeDer(TAG.integer, Buffer.of(0));
const ONE = writeDer(TAG.integer, Buffer.of(1));
const EXPLICIT_0 = 0xa0;
const EXPLICIT_1 = 0xa1;

function open({ children }: DerValue): (PublicKey & { readonly algorithm: Algorithm }) | undefined {
  const [identifier, bits] = children;
  const [id, parameters] = identifier?.children ?? [];
  const algorithm = id && ALGORITHMS[readOid(id)];
  // A key is a number of whole bytes.
  if (algorithm === undefined || bits?.tag !== TAG.bitString || bits.body[0] !== 0) return undefined;
  return { algorithm, parameters, bytes: bits.body.subarray(1) };
}

/** What PKCS#8 wraps, if it says that it is a key for the same algorithm. */
function unwrap({ children }: DerValue, identifier: DerValue): DerValue | undefined {
  const [version, itsIdentifier, octets, ...more] = children;
  if (more.length > 0 || !isNumber(version, 0) || octets?.tag !== TAG.octetString) return undefined;
  if (itsIdentifier?.tag !== TAG.sequence || !isSame(itsIdentifier.body, identifier.body)) return undefined;
  const inner = readDer(octets.body);
  return inner?.tag === TAG.sequence ? inner : undefined;
}

function rsaFault({ parameters, bytes }: PublicKey): string | undefined {
  if (parameters?.tag !== TAG.null) return "has an RSA key with unknown parameters";
  const [modulus, exponent] = readRsa(bytes) ?? [];
  if (modulus === undefined || exponent === undefined) return UNREADABLE;
  const hex = modulus.toString(16);
  const bits = hex.length * 4 - Math.clz32(Number.parseInt(hex.slice(0, 1), 16)) + 28;
  if (bits < 2048) return "has an RSA key of less than 2048 bits, which Envoy refuses";
  if (bits > 16384) return "has an RSA key of more than 16384 bits, which Envoy refuses";
  // BoringSSL's bounds: odd, more than one, and at most 33 bits.
  const isUsual = exponent >= 3n && exponent < 1n << 33n && exponent % 2n === 1n;
  return isUsual ? undefined : "has an RSA key with an exponent that Envoy refuses";
}

function readRsa(bytes: Uint8Array): readonly (bigint | undefined)[] | undefined {
  const value = readDer(bytes);
  return value?.tag === TAG.sequence && value.children.length === 2 ? value.children.map(readPositive) : undefined;
}

function rewriteRsa(key: DerValue, publicKey: PublicKey): Uint8Array | undefined {
  const [version, ...integers] = key.children;
  if (!isNumber(version, 0) || integers.length !== 8) return undefined;
  const numbers = integers.map(readPositive);
  const [modulus, exponent] = readRsa(publicKey.bytes) ?? [];
  const isTheirs = modulus !== undefined && modulus === numbers[0] && exponent === numbers[1];
  return isTheirs && rsaFault(publicKey) === undefined && areConsistent(numbers) ? whole(key) : undefined;
}

/** Whether the numbers of an RSA key, in the order of PKCS#1, fit each other. */
function areConsistent(numbers: readonly (bigint | undefined)[]): boolean {
  const [n, e, d, p, q, dp, dq, qi] = numbers;
  if (!n || !e || !d || !p || !q || !dp || !dq || !qi || p === 1n || q === 1n) return false;
  // None is larger; what is would take long to compute with.
  if ([e, d, p, q, dp, dq, qi].some((number) => number > n)) return false;
  return (
    p * q === n &&
    (d * e) % (p - 1n) === 1n &&
    (d * e) % (q - 1n) === 1n &&
    d % (p - 1n) === dp &&
    d % (q - 1n) === dq &&
    (qi * q) % p === 1n
  );
}

function readPositive({ tag, body }: DerValue): bigint | undefined {
  const [first] = body;
  if (tag !== TAG.integer || first === undefined || first >= 0x80) return undefined;
  return BigInt(`0x${Buffer.from(body).toString("hex")}`);
}

function ecFault({ parameters, bytes }: PublicKey): string | undefined {
  // Curves can also be spelled out, and points be written in two more ways, which Envoy does not take.
  return curveOf(parameters) !== undefined && bytes[0] === 0x04 ? undefined : EC_FAULT;
}

function curveOf(parameters: DerValue | undefined): (typeof CURVES)[string] | undefined {
  return parameters?.tag === TAG.objectIdentifier ? CURVES[readOid(parameters)] : undefined;
}

function rewriteEc(key: DerValue, { parameters, bytes }: PublicKey, isWrapped: boolean): Uint8Array | undefined {
  const curve = curveOf(parameters);
  const [version, secret, ...optional] = key.children;
  if (curve === undefined || parameters === undefined || !isNumber(version, 1)) return undefined;
  if (secret?.tag !== TAG.octetString || secret.body.length !== curve.size) return undefined;
  const [parametersAgain, point, ...more] = optional[0]?.tag === EXPLICIT_0 ? optional : [undefined, ...optional];
  // Nothing else tells the curve of a key that is not wrapped.
  if (more.length > 0 || (parametersAgain === undefined && !isWrapped)) return undefined;
  if (parametersAgain !== undefined && !isSame(parametersAgain.body, whole(parameters))) return undefined;
  const wanted = writeDer(TAG.bitString, Buffer.of(0), bytes);
  if (point !== undefined && (point.tag !== EXPLICIT_1 || !isSame(point.body, wanted))) return undefined;
  if (publicPoint(curve.name, secret.body)?.equals(bytes) !== true) return undefined;
  return writeDer(TAG.sequence, ONE, whole(secret), writeDer(EXPLICIT_1, wanted));
}

/** The public point that belongs to a private number; undefined for a number that is no key on this curve. */
function publicPoint(curve: string, secret: Uint8Array): Buffer | undefined {
  try {
    const ecdh = createECDH(curve);
    ecdh.setPrivateKey(secret);
    return ecdh.getPublicKey();
  } catch {
    // OpenSSL's words must not be trusted with a key.
    return undefined;
  }
}

function isNumber(value: DerValue | undefined, number: number): boolean {
  return value?.tag === TAG.integer && value.body.length === 1 && value.body[0] === number;
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0;
}

function whole({ tag, body }: DerValue): Uint8Array {
  return writeDer(tag, body);
}
