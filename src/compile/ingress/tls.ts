import type { IngressTls } from "../../api/ingress.ts";
import type { ObjectKey } from "../../api/object-key.ts";
import type * as ir from "../../ir/ir.ts";
import type { Unit, View } from "../../store/view.ts";
import type { Findings } from "../findings.ts";
import type { CompileOptions } from "../options.ts";
import type { Fact, SecretReason } from "../problems.ts";
import { findCertificate } from "../tls.ts";
import type { IngressSettings } from "./annotations.ts";
import type { Participant } from "./host.ts";

/**
 * Each host has a copy of its certificate, and one Ingress can name tens of thousands of hosts: so many bytes they may come
 * to. With certificates of usual size it is more than ten thousand hosts.
 */
const MAX_COPIED_BYTES = 64 * 1024 * 1024;
const TOO_MANY_COPIES = `its copies for the hosts of this object have more than ${MAX_COPIED_BYTES / 2 ** 20} MiB; use a smaller certificate, or fewer hosts`;

/**
 * What puts the host on the secure port: the certificate of the oldest Ingress that has a usable one, and the version of TLS
 * that this Ingress asks for. The others have no say in what clients of its paths have to speak.
 */
export function compileIngressTls(
  unit: Unit,
  participants: readonly Participant[],
  view: View,
  options: CompileOptions,
  findings: Findings,
): ir.HostTls | undefined {
  // Certificates are for names: as Kubernetes has it, TLS does not work for rules without a host.
  if (unit === "*") return undefined;
  let certificate: ir.Certificate | undefined;
  let minimumVersion = options.minimumTlsVersion;
  for (const { key, object, settings, order, tlsEntry } of participants) {
    if (object.notes.faults.length > 0) continue;
    const index = tlsEntry(unit);
    const entry = index === undefined ? undefined : object.tls[index];
    if (entry === undefined) continue;
    const at = `spec.tls[${index}].secretName`;
    const report = (fact: Fact) => findings.report({ object: key, at, subject: { kind: "object" }, ...fact });
    const secretName = secretOf(entry, settings);
    const { value, facts } = findCertificate(
      { host: unit, namespace: object.metadata.namespace, origin: { object: key, at } },
      secretName,
      view,
      options,
    );
    if (value === undefined) {
      for (const fact of facts) {
        report({ code: "IngressTlsUnusable", host: unit, secret: secretName, reason: reasonOf(fact) });
      }
      continue;
    }
    if (((order.get(unit) ?? 0) + 1) * value.chainPem.length > MAX_COPIED_BYTES) {
      const reason = { text: TOO_MANY_COPIES, isForeign: false };
      report({ code: "IngressTlsUnusable", host: unit, secret: secretName, reason });
      continue;
    }
    if (certificate === undefined) {
      certificate = value;
      const { version = minimumVersion } = settings.minimumTlsVersion ?? {};
      if (version > minimumVersion) minimumVersion = version;
      for (const fact of facts) report(fact);
    } else if (certificate.chainPem !== value.chainPem) {
      report({ code: "IngressCertificateHeld", host: unit, holder: certificate.origin.object as ObjectKey });
    }
  }
  return certificate && { certificate, minimumVersion };
}

/** An API server takes no slash in `secretName`, so that there an annotation says which namespace is meant. */
function secretOf({ secretName = "" }: IngressTls, { certificateNamespace }: IngressSettings): string {
  const isWhole = certificateNamespace === undefined || secretName === "" || secretName.includes("/");
  return isWhole ? secretName : `${certificateNamespace}/${secretName}`;
}

function reasonOf(fact: Fact): SecretReason {
  const own = (text: string): SecretReason => ({ text, isForeign: false });
  switch (fact.code) {
    case "TlsSecretMissing":
      return own("spec.tls names no Secret for it");
    case "TlsSecretNameInvalid":
      return own("this is neither a name nor a namespace and a name with a slash between them");
    case "TlsSecretNotFound":
      return own("there is no such Secret");
    case "TlsSecretNotDelegated":
      return own(`no TLSCertificateDelegation lets namespace ${fact.namespace} use it`);
    case "TlsSecretUnusable":
      return fact.reason;
    default:
      throw new Error(`a certificate is not refused with ${fact.code}`);
  }
}
