import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { experimental, type ServerCredentials } from "@grpc/grpc-js";
import type { Logger } from "../controller/log.ts";
import { readPem } from "../controller/pem.ts";
import { UsageError } from "./flags.ts";

/** Files in PEM: the controller's certificate and key, and the authority whose certificates an Envoy must show. */
export type XdsTls = { readonly certFile: string; readonly keyFile: string; readonly caFile: string };

type Contents = { readonly certificate: Buffer; readonly privateKey: Buffer; readonly caCertificate: Buffer };

/** A kubelet takes a minute or two to bring what a Secret has. */
const EVERY_MS = 10_000;

/**
 * Only an Envoy with a certificate of the given authority may connect: xDS hands out private keys. The files are read again
 * now and then, for new connections. Throws if they cannot be used from the start; what becomes unusable later is logged.
 */
export function mutualTls(files: XdsTls, log: Logger, everyMs: number = EVERY_MS): ServerCredentials {
  const certificates = new FileCertificates(files, log, everyMs);
  return experimental.createCertificateProviderServerCredentials(certificates, certificates, true);
}

/** In place of the one of gRPC, which lets nobody connect any more when a file cannot be read, and says nothing. */
class FileCertificates implements experimental.CertificateProvider {
  readonly #files: XdsTls;
  readonly #log: Logger;
  readonly #everyMs: number;
  readonly #caListeners = new Set<experimental.CaCertificateUpdateListener>();
  readonly #identityListeners = new Set<experimental.IdentityCertificateUpdateListener>();
  #contents: Contents;
  #timer: NodeJS.Timeout | undefined;
  /** Why the files cannot be used as they are now. */
  #trouble: string | undefined;

  constructor(files: XdsTls, log: Logger, everyMs: number) {
    this.#files = files;
    this.#log = log;
    this.#everyMs = everyMs;
    try {
      this.#contents = read(files);
    } catch (error) {
      throw new UsageError(`the certificates of xDS cannot be used: ${reasonOf(error)}`);
    }
  }

  addCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#caListeners.add(listener);
    this.#begin();
  }

  addIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#identityListeners.add(listener);
    this.#begin();
  }

  removeCaCertificateListener(listener: experimental.CaCertificateUpdateListener): void {
    this.#caListeners.delete(listener);
    this.#endIfAlone();
  }

  removeIdentityCertificateListener(listener: experimental.IdentityCertificateUpdateListener): void {
    this.#identityListeners.delete(listener);
    this.#endIfAlone();
  }

  #begin(): void {
    this.#timer ??= setInterval(() => this.#look(), this.#everyMs).unref();
    // Who adds a listener is not ready for it yet.
    process.nextTick(() => this.#tell());
  }

  #endIfAlone(): void {
    if (this.#caListeners.size + this.#identityListeners.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #look(): void {
    let contents: Contents;
    let until: string;
    try {
      contents = read(this.#files);
      until = new Date(new X509Certificate(contents.certificate).validTo).toISOString();
    } catch (error) {
      const reason = reasonOf(error);
      if (reason !== this.#trouble) {
        this.#log.warn({ reason }, "the certificates of xDS cannot be used as they are now; those from before are");
      }
      this.#trouble = reason;
      return;
    }
    const isSame = equal(contents, this.#contents);
    if (this.#trouble !== undefined && isSame) this.#log.info("the certificates of xDS are those from before again");
    this.#trouble = undefined;
    if (isSame) return;
    this.#contents = contents;
    this.#tell();
    this.#log.info({ until }, "xDS has other certificates, for new connections");
  }

  #tell(): void {
    for (const listener of this.#identityListeners) listener(this.#contents);
    for (const listener of this.#caListeners) listener(this.#contents);
  }
}

/** Throws if anything is missing, cut off, or does not belong together, as when it is about to be replaced. */
function read(files: XdsTls): Contents {
  const { certFile, keyFile, caFile } = files;
  const [first, second] = [readFiles(files), readFiles(files)];
  // They may all have been replaced after one of them was read; not twice in a row.
  const contents = equal(first, second) ? second : readFiles(files);
  expectCertificates(contents.certificate, certFile);
  expectCertificates(contents.caCertificate, caFile);
  try {
    createSecureContext({ cert: contents.certificate, key: contents.privateKey, ca: contents.caCertificate });
  } catch (error) {
    throw new Error(`${certFile} and ${keyFile} do not make a pair: ${reasonOf(error)}`);
  }
  return contents;
}

function readFiles({ certFile, keyFile, caFile }: XdsTls): Contents {
  return {
    certificate: readFileSync(certFile),
    privateKey: readFileSync(keyFile),
    caCertificate: readFileSync(caFile),
  };
}

/** TLS passes over what it cannot read of an authority, and would then trust others than it was told to, or nobody. */
function expectCertificates(pem: Buffer, file: string): void {
  const blocks = readPem(pem.toString("latin1"));
  if (blocks === undefined) throw new Error(`${file} is cut off`);
  const certificates = blocks.filter(({ label }) => label === "CERTIFICATE");
  if (certificates.length === 0) throw new Error(`${file} holds no certificate`);
  for (const { der } of certificates) {
    if (der === undefined || !isCertificate(der)) throw new Error(`${file} holds a certificate that cannot be read`);
  }
}

function isCertificate(der: Buffer): boolean {
  try {
    return new X509Certificate(der).raw.length === der.length;
  } catch {
    return false;
  }
}

function equal(a: Contents, b: Contents): boolean {
  return (
    a.certificate.equals(b.certificate) && a.privateKey.equals(b.privateKey) && a.caCertificate.equals(b.caCertificate)
  );
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
