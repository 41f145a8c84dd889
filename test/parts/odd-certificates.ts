import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { readDer } from "../../src/controller/der.ts";
import {
  type CertificateFields,
  certificate,
  createAuthority,
  ecKey,
  extension,
  type IssueOptions,
  type KeyPair,
  keyUsage,
  nameOf,
  plainFields,
  rsaKey,
  subjectAltName,
} from "./authority.ts";
import * as der from "./der.ts";

/** What may stand in a Secret, and whether Isoline takes it: undefined if it does, else its reason. */
export type OddPair = { readonly certPem: string; readonly keyPem: string; readonly refused: RegExp | undefined };
export type OddBundle = { readonly caPem: string; readonly refused: RegExp | undefined };

const BROKEN = pemOf(Buffer.from([1, 2, 3]));

/** Certificates with their keys, from plain to strange, by what is odd about them. */
export function oddPairs(): ReadonlyMap<string, OddPair> {
  const authority = createAuthority("Test CA");
  const pairs = new Map<string, OddPair>();
  const add = (name: string, certPem: string, keyPem: string, refused?: RegExp) =>
    pairs.set(name, { certPem, keyPem, refused });
  const issued = (name: string, options: Partial<IssueOptions>, refused?: RegExp) => {
    const { certPem, keyPem } = authority.issue({ names: ["web.example.com"], ...options });
    add(name, certPem, keyPem, refused);
  };
  const own = ecKey();
  const made = (name: string, fields: Partial<CertificateFields>, refused?: RegExp, key: KeyPair = own) =>
    add(name, madePem(fields, key), pkcs8(key.privateKey), refused);

  // Keys.
  const badCurve = /an EC key that Envoy refuses/;
  for (const curve of ["P-256", "P-384", "P-521"]) issued(curve, { key: ecKey(curve) });
  for (const curve of ["P-224", "secp256k1", "brainpoolP256r1"]) issued(curve, { key: ecKey(curve) }, badCurve);
  made(
    "P-256 spelled out",
    {},
    badCurve,
    generateKeyPairSync("ec", { namedCurve: "P-256", paramEncoding: "explicit" }),
  );
  const rsa = rsaKey();
  issued("RSA of 2048 bits", { key: rsa });
  issued("RSA of 2049 bits", { key: rsaKey(2049) });
  for (const bits of [512, 1024, 2047]) issued(`RSA of ${bits} bits`, { key: rsaKey(bits) }, /less than 2048 bits/);
  issued("RSA with exponent 3", { key: rsaWithExponent(3) });
  issued("RSA with PSS only", { key: generateKeyPairSync("rsa-pss", { modulusLength: 2048 }) }, /type rsa-pss/);
  issued("Ed25519", { key: generateKeyPairSync("ed25519") });
  issued("Ed448", { key: generateKeyPairSync("ed448") }, /type ed448/);
  const nonsense = der.sequence(der.sequence(der.oid("1.2.3.4")), der.bits(Buffer.from([1])));
  made("an unknown kind of key", { publicKey: nonsense }, /key that cannot be read/);

  // Extensions.
  issued("EC without digitalSignature", { keyUsage: "keyEncipherment" }, /may not sign/);
  issued("RSA without digitalSignature", { keyUsage: "keyEncipherment", key: rsa });
  issued("no keyUsage", { keyUsage: "none" });
  const badUsage = /keyUsage that cannot be read/;
  issued("keyUsage that is none", { keyUsage: "none", extensions: [extension("2.5.29.15", der.nothing)] }, badUsage);
  const noBits = extension("2.5.29.15", der.bits(Buffer.of()));
  issued("keyUsage without a bit", { keyUsage: "none", extensions: [noBits] }, badUsage);
  const mustStaple = extension("1.3.6.1.5.5.7.1.24", der.sequence(der.integer(5n)));
  issued("OCSP must-staple", { extensions: [mustStaple] }, /OCSP stapling/);
  issued("an unknown critical extension", { extensions: [extension("1.2.3.4.5", der.nothing, true)] });
  issued("subjectAltName twice", { extensions: [subjectAltName(["b.example.com"])] });
  issued("subjectAltName that is none", { names: [], extensions: [extension("2.5.29.17", Buffer.of(1, 2, 3))] });
  issued("a name that is not ASCII", { names: ["bücher.example.com"] });
  issued("a common name only", { names: [], commonName: "web.example.com" });

  // What one certificate, or all of them together, may have.
  const plain = authority.issue({ names: ["web.example.com"] });
  add("a long chain", plain.certPem + manyLarge(3), plain.keyPem);
  add(
    "too long a chain",
    plain.certPem + manyLarge(4),
    plain.keyPem,
    /in tls.crt have 8\d KiB, and 64 are the most: keep/,
  );

  // Names and dates.
  const nobody = der.sequence();
  const mailOnly = extension("2.5.29.17", der.sequence(der.implicit(1, Buffer.from("a@example.com"))));
  made("no name at all", { subject: nobody, extensions: [] }, /names no host/);
  made("a mail address only", { subject: nobody, extensions: [mailOnly] }, /names no host/);
  made("an empty common name", { subject: nameOf("") }, /empty common name/);
  made("an IP address only", { subject: nobody, extensions: [subjectAltName(["127.0.0.1"])] });
  made("a subjectAltName only", { subject: nobody });
  made("a common name that is not UTF-8", { subject: commonName(der.tagged(0x0c, Buffer.of(0xff, 0xfe))) }, UNREADABLE);
  made("a common name that is a number", { subject: commonName(der.integer(5n)) }, UNREADABLE);
  issued("expired long ago", { notBefore: new Date(0), notAfter: new Date(1) });
  issued("not valid yet", { notBefore: new Date("2045-01-01T00:00:00Z"), notAfter: new Date("2051-01-01T00:00:00Z") });
  const until = (tag: number, text: string) => ({ notAfter: der.tagged(tag, Buffer.from(text)) });
  made("valid for ever", until(0x18, "99991231235959Z"));
  made("a time with two digits of the year too many", until(0x18, "20300101000000Z"));
  made("a time without seconds", until(0x17, "3001010000Z"), UNREADABLE);
  made("a time with a fraction", until(0x18, "20300101000000.5Z"), UNREADABLE);
  made("a time zone", until(0x17, "300101000000+0100"), UNREADABLE);
  made("a day that there is not", until(0x17, "300230000000Z"), UNREADABLE);
  made("a time in words", until(0x17, "tomorrow"), UNREADABLE);

  // Shape.
  const version = (number: bigint) => der.explicit(0, der.integer(number));
  made("version 1", { version: Buffer.of(), extensions: [] });
  made("version 1 with extensions", { version: Buffer.of() }, UNREADABLE);
  made("version 2", { version: version(1n), extensions: [] });
  made("version 4", { version: version(3n) }, UNREADABLE);
  made("a version of two bytes", { version: version(0x0202n) }, UNREADABLE);
  made(
    "an empty part of a name",
    { subject: der.sequence(der.setOf(), nameOf("web.example.com").subarray(2)) },
    UNREADABLE,
  );
  made("an issuer with an empty part", { issuer: der.sequence(der.setOf()) }, UNREADABLE);
  made("a negative serial number", { serial: der.tagged(2, Buffer.of(0x80)) });
  made("a serial number of 100 bytes", { serial: der.integer(1n << 799n) });
  made("a serial number that is longer than need be", { serial: der.tagged(2, Buffer.of(0, 1)) }, UNREADABLE);
  made("a serial number of no bytes", { serial: der.tagged(2) }, UNREADABLE);

  // PEM.
  const { certPem, keyPem, privateKey } = authority.issue({ names: ["web.example.com"] });
  const chained = authority
    .intermediate("Below")
    .intermediate("Far below")
    .issue({ names: ["web.example.com"] });
  const other = authority.issue({ names: ["other.example.com"] });
  const sec1 = privateKey.export({ type: "sec1", format: "pem" }).toString();
  add("a chain", chained.certPem, chained.keyPem);
  add("line ends of Windows", certPem.replaceAll("\n", "\r\n"), keyPem.replaceAll("\n", "\r\n"));
  add("text around the blocks", `# the host\n${certPem}# the end\n`, `Bag Attributes\n${keyPem}bye`);
  add("an old label", certPem.replaceAll("CERTIFICATE", "X509 CERTIFICATE"), keyPem);
  add("SEC1", certPem, sec1);
  add("SEC1 behind its parameters", certPem, `${der.pem("EC PARAMETERS", der.oid("1.2.840.10045.3.1.7"))}${sec1}`);
  const rsaIssued = authority.issue({ names: ["web.example.com"], key: rsa });
  add("PKCS#1", rsaIssued.certPem, rsa.privateKey.export({ type: "pkcs1", format: "pem" }).toString());
  add("both in both", certPem + keyPem, keyPem + certPem);
  add("nothing", "", "", /tls.crt holds no certificate/);
  add("no key", certPem, certPem, /tls.key holds no private key/);
  add("another's key", certPem, other.keyPem, /does not belong to the first certificate in tls.crt$/);
  add("an RSA key for an EC certificate", certPem, rsaIssued.keyPem, /does not belong/);
  add("a chain upside down", other.certPem + certPem, keyPem, /does not belong .*, but to number 2/);
  add("a second certificate that is none", certPem + BROKEN, keyPem, /certificate number 2 in tls.crt cannot be read/);
  add("a certificate that is not base64", certPem.replace("\nM", "\n!"), keyPem, UNREADABLE);
  add("a certificate cut off", certPem.slice(0, -30), keyPem, /no proper end/);
  add("a key cut off", certPem, keyPem.slice(0, -30), /no proper end/);
  add("bytes behind a certificate", trailing(certPem), keyPem, UNREADABLE);
  const cipher = { cipher: "aes-256-cbc", passphrase: "hunter2", format: "pem" } as const;
  add("PKCS#8, encrypted", certPem, privateKey.export({ type: "pkcs8", ...cipher }).toString(), /is encrypted/);
  add("SEC1, encrypted", certPem, privateKey.export({ type: "sec1", ...cipher }).toString(), /is encrypted/);
  add("a key of an unknown form", certPem, sec1.replaceAll("EC PRIVATE", "OPENSSH PRIVATE"), /cannot be read/);
  add("an EC key with a number that is too long", certPem, tooLong(privateKey), /contradicts itself|cannot be read/);
  add("an RSA key that contradicts itself", rsaIssued.certPem, contradictory(rsa.privateKey), /contradicts itself/);
  return pairs;
}

/** Bundles of authorities, from plain to strange. */
export function oddBundles(): ReadonlyMap<string, OddBundle> {
  const one = createAuthority("One");
  const two = createAuthority("Two", rsaKey());
  const leaf = one.issue({ names: ["web.example.com"] });
  const bundles = new Map<string, OddBundle>();
  const add = (name: string, caPem: string, refused?: RegExp) => bundles.set(name, { caPem, refused });
  add("one", one.rootPem);
  add("two with words", `# one\n${one.rootPem}# two\n${two.rootPem}`);
  add("the same twice", one.rootPem + one.rootPem);
  add("with a key", one.rootPem + leaf.keyPem);
  add("a certificate that is no authority", leaf.certPem);
  add("a small RSA key", createAuthority("Small", rsaKey(1024)).rootPem);
  add("Ed448", createAuthority("Ed448", generateKeyPairSync("ed448")).rootPem);
  add("no name", madePem({ subject: der.sequence(), extensions: [] }, ecKey()));
  add("many", one.rootPem + manyLarge(12));
  add(
    "too many",
    one.rootPem + manyLarge(13),
    /the certificates in ca.crt have 25[89] KiB, and 256 are the most: leave/,
  );
  add(
    "a large one",
    one.rootPem + largeAuthority("Large", 18_000),
    /certificate number 2 in ca.crt has more than 16 KiB/,
  );
  add("nothing", "", /ca.crt holds no certificate/);
  add("words", "hello", /ca.crt holds no certificate/);
  add("a key only", leaf.keyPem, /ca.crt holds no certificate/);
  add("a second one that is none", one.rootPem + BROKEN, /certificate number 2 in ca.crt cannot be read/);
  add(
    "a day that there is not",
    madePem({ notAfter: der.tagged(0x17, Buffer.from("300230000000Z")) }, ecKey()),
    UNREADABLE,
  );
  return bundles;
}

/** Authorities of 20 KB each in PEM, to the byte. */
export function manyLarge(count: number): string {
  return Array.from({ length: count }, (_, i) => largeAuthority(`Large ${String(i).padStart(2, "0")}`, 14_700)).join(
    "",
  );
}

/** Has an extension of so many bytes that says nothing to anybody. */
function largeAuthority(name: string, bytes: number): string {
  const key = generateKeyPairSync("ed25519");
  const filler = extension("1.2.3.4.5", der.utf8("x".repeat(bytes)));
  const fields = { subject: nameOf(name), issuer: nameOf(name), extensions: [...keyUsage("authority"), filler] };
  return madePem(fields, key);
}

const UNREADABLE = /cannot be read/;

function madePem(fields: Partial<CertificateFields>, key: KeyPair): string {
  return pemOf(
    certificate({
      ...plainFields(),
      publicKey: key.publicKey,
      signer: key.privateKey,
      subject: nameOf("web.example.com"),
      issuer: nameOf("web.example.com"),
      extensions: [...keyUsage("server"), subjectAltName(["web.example.com"])],
      ...fields,
    }),
  );
}

function commonName(value: Buffer): Buffer {
  return der.sequence(der.setOf(der.sequence(der.oid("2.5.4.3"), value)));
}

function rsaWithExponent(publicExponent: number): KeyPair {
  return generateKeyPairSync("rsa", { modulusLength: 2048, publicExponent });
}

function pkcs8(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}

function pemOf(certificateDer: Buffer): string {
  return der.pem("CERTIFICATE", certificateDer);
}

/** The same with an empty value behind it, inside the block. */
function trailing(certPem: string): string {
  const body = Buffer.from(certPem.split("\n").slice(1, -2).join(""), "base64");
  return pemOf(Buffer.concat([body, der.nothing]));
}

/** A PKCS#1 key whose last part, which only makes computing faster, is another number. */
function contradictory(key: KeyObject): string {
  const body = key.export({ type: "pkcs1", format: "der" });
  body.writeUInt8(body.readUInt8(body.length - 1) ^ 1, body.length - 1);
  return der.pem("RSA PRIVATE KEY", body);
}

/** A SEC1 key with a byte more than its curve has. OpenSSL reads it, and Node ends when it is asked for its parts. */
function tooLong(key: KeyObject): string {
  const [version, number, ...others] = readDer(key.export({ type: "sec1", format: "der" }))?.children ?? [];
  if (version === undefined || number === undefined) throw new Error("not a SEC1 key");
  const parts = [version, { ...number, body: Buffer.concat([Buffer.of(0xab), number.body]) }, ...others];
  return der.pem("EC PRIVATE KEY", der.sequence(...parts.map(({ tag, body }) => der.tagged(tag, body))));
}
