import type { TlsVersion } from "../ir/ir.ts";
import type { ReadCertificates } from "./key-pair.ts";
import type { ReadRegex } from "./regex.ts";

export type CompileOptions = {
  /** Namespaces where a root may live; empty means anywhere. */
  readonly rootNamespaces: readonly string[];
  /** Let ExternalName Services lead to the proxy's own loopback. */
  readonly allowLoopbackExternalName: boolean;
  /** Ignore every route's `permitInsecure`. */
  readonly disablePermitInsecure: boolean;
  /** The class of the objects that are ours to serve; those that name none are too. */
  readonly ingressClass: string;
  /** No host is served with an older version of TLS, whatever its object asks for. */
  readonly minimumTlsVersion: TlsVersion;
  readonly readCertificates: ReadCertificates;
  readonly readRegex: ReadRegex;
};
