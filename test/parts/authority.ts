import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";
import * as der from "./der.ts";

/** A certificate with its key, as they stand in a Secret. */
export type Identity = {
  /** The certificate, followed by those of the intermediates that lead to the root. */
  readonly certPem: string;
  /** PKCS#8. */
  readonly keyPem: string;
  readonly privateKey: KeyObject;
};

export type IssueOptions = {
  /** Host names (wildcards too) and IP addresses for `subjectAltName`. */
  readonly names: readonly string[];
  readonly commonName?: string;
  readonly key?: KeyPair;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Bits of `keyUsage`; digitalSignature and keyEncipherment unless told otherwise. */
  readonly keyUsage?: KeyUsage;
  /** More extensions, or others in place of ours. */
  readonly extensions?: readonly Buffer[];
};

export type Authority = {
  /** The root's certificate, for clients. */
  readonly rootPem: string;
  readonly issue: (options: IssueOptions) => Identity;
  /** An authority below this one. Its certificates come with its own in the chain. */
  readonly intermediate: (name: string) => Authority;
};

export type KeyPair = { readonly publicKey: KeyObject; readonly privateKey: KeyObject };

export type KeyUsage = "server" | "keyEncipherment" | "authority" | "none";

export function createAuthority(name: string, key: KeyPair = ecKey()): Authority {
  const subject = nameOf(name);
  const root = certificate({ ...authorityFields(subject, key), issuer: subject, signer: key.privateKey });
  return authorityOf({ name: subject, privateKey: key.privateKey, rootPem: der.pem("CERTIFICATE", root), chain: "" });
}

export function ecKey(namedCurve = "P-256"): KeyPair {
  return generateKeyPairSync("ec", { namedCurve });
}

export function rsaKey(modulusLength = 2048): KeyPair {
  return generateKeyPairSync("rsa", { modulusLength });
}

/** What goes into a certificate. Nothing is checked: tests want bad ones too. */
export type CertificateFields = {
  readonly publicKey: KeyObject | Buffer;
  readonly signer: KeyObject;
  readonly subject: Buffer;
  readonly issuer: Buffer;
  readonly notBefore: Buffer;
  readonly notAfter: Buffer;
  readonly serial: Buffer;
  readonly version: Buffer;
  readonly extensions: readonly Buffer[];
};

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

const OID = {
  commonName: "2.5.4.3",
  basicConstraints: "2.5.29.19",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  sha256WithRsa: "1.2.840.113549.1.1.11",
  ecdsaWithSha256: "1.2.840.10045.4.3.2",
  ed25519: "1.3.101.112",
  ed448: "1.3.101.113",
};

/** The parts of a certificate that few tests care about. */
export function plainFields(): Pick<CertificateFields, "notBefore" | "notAfter" | "serial" | "version"> {
  return {
    // Some hours ago, for clocks that disagree.
    notBefore: der.time(new Date(Date.now() - HOUR_MS)),
    notAfter: der.time(new Date(Date.now() + 30 * DAY_MS)),
    // A bit at the top keeps the number of bytes, and so the certificate's shape, the same every time.
    serial: der.integer(BigInt(`0x4${randomBytes(8).toString("hex").slice(1)}`)),
    version: der.explicit(0, der.integer(2n)),
  };
}

/** The DER of a certificate. */
export function certificate(fields: CertificateFields): Buffer {
  const algorithm = signatureAlgorithm(fields.signer);
  const publicKey = Buffer.isBuffer(fields.publicKey)
    ? fields.publicKey
    : fields.publicKey.export({ type: "spki", format: "der" });
  const body = der.sequence(
    fields.version,
    fields.serial,
    algorithm,
    fields.issuer,
    der.sequence(fields.notBefore, fields.notAfter),
    fields.subject,
    publicKey,
    ...(fields.extensions.length === 0 ? [] : [der.explicit(3, der.sequence(...fields.extensions))]),
  );
  const type = fields.signer.asymmetricKeyType;
  const signature = sign(type === "ed25519" || type === "ed448" ? null : "sha256", body, fields.signer);
  return der.sequence(body, algorithm, der.bits(signature));
}

export function nameOf(commonName: string): Buffer {
  return der.sequence(der.setOf(der.sequence(der.oid(OID.commonName), der.utf8(commonName))));
}

export function extension(id: string, value: Buffer, critical = false): Buffer {
  return der.sequence(der.oid(id), ...(critical ? [der.boolean(true)] : []), der.octets(value));
}

export function subjectAltName(names: readonly string[]): Buffer {
  const general = names.map((name) =>
    isIP(name) === 4
      ? der.implicit(7, Buffer.from(name.split(".").map(Number)))
      : der.implicit(2, Buffer.from(name, "latin1")),
  );
  return extension(OID.subjectAltName, der.sequence(...general));
}

export function keyUsage(usage: KeyUsage): readonly Buffer[] {
  switch (usage) {
    case "server":
      return [extension(OID.keyUsage, der.bits(Buffer.from([0b1010_0000]), 5), true)];
    case "keyEncipherment":
      return [extension(OID.keyUsage, der.bits(Buffer.from([0b0010_0000]), 5), true)];
    case "authority":
      return [extension(OID.keyUsage, der.bits(Buffer.from([0b0000_0110]), 1), true)];
    case "none":
      return [];
  }
}

type Issuer = {
  readonly name: Buffer;
  readonly privateKey: KeyObject;
  readonly rootPem: string;
  /** The intermediates from this one to below the root. */
  readonly chain: string;
};

function authorityOf(issuer: Issuer): Authority {
  return {
    rootPem: issuer.rootPem,
    issue: (options) => issue(issuer, options),
    intermediate: (name) => {
      const key = ecKey();
      const subject = nameOf(name);
      const own = certificate({
        ...authorityFields(subject, key),
        issuer: issuer.name,
        signer: issuer.privateKey,
      });
      const chain = der.pem("CERTIFICATE", own) + issuer.chain;
      return authorityOf({ name: subject, privateKey: key.privateKey, rootPem: issuer.rootPem, chain });
    },
  };
}

function issue(issuer: Issuer, options: IssueOptions): Identity {
  const key = options.key ?? ecKey();
  const plain = plainFields();
  const own = certificate({
    ...plain,
    notBefore: options.notBefore === undefined ? plain.notBefore : der.time(options.notBefore),
    notAfter: options.notAfter === undefined ? plain.notAfter : der.time(options.notAfter),
    publicKey: key.publicKey,
    signer: issuer.privateKey,
    issuer: issuer.name,
    subject: nameOf(options.commonName ?? options.names[0] ?? "nameless"),
    extensions: [
      ...keyUsage(options.keyUsage ?? "server"),
      ...(options.names.length === 0 ? [] : [subjectAltName(options.names)]),
      ...(options.extensions ?? []),
    ],
  });
  return {
    certPem: der.pem("CERTIFICATE", own) + issuer.chain,
    keyPem: key.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    privateKey: key.privateKey,
  };
}

function authorityFields(subject: Buffer, key: KeyPair): Omit<CertificateFields, "issuer" | "signer"> {
  return {
    ...plainFields(),
    subject,
    publicKey: key.publicKey,
    extensions: [extension(OID.basicConstraints, der.sequence(der.boolean(true)), true), ...keyUsage("authority")],
  };
}

function signatureAlgorithm(signer: KeyObject): Buffer {
  switch (signer.asymmetricKeyType) {
    case "ec":
      return der.sequence(der.oid(OID.ecdsaWithSha256));
    case "rsa":
      return der.sequence(der.oid(OID.sha256WithRsa), der.nothing);
    case "ed25519":
      return der.sequence(der.oid(OID.ed25519));
    case "ed448":
      return der.sequence(der.oid(OID.ed448));
    default:
      throw new Error(`cannot sign with a key of type ${signer.asymmetricKeyType}`);
  }
}
