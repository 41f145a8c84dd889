import type { IngressRoute, Tls } from "../api/ingress-route.ts";
import { isIpv4 } from "../api/ip-address.ts";
import { isName, isNamespace } from "../api/names.ts";
import { objectKey } from "../api/object-key.ts";
import type * as ir from "../ir/ir.ts";
import type { View } from "../store/view.ts";
import type { CompileOptions } from "./options.ts";
import type { Fact } from "./problems.ts";

export const TLS_VERSIONS: readonly ir.TlsVersion[] = ["1.1", "1.2", "1.3"];

export type CompiledTls = {
  /** Undefined when something is wrong: then nothing of the host may be served. */
  readonly tls: ir.HostTls | undefined;
  readonly problems: readonly { readonly field: string; readonly fact: Fact }[];
};

/** What a root asks for in `spec.virtualhost.tls`, with the certificate that it names. */
export function compileTls(root: IngressRoute, tls: Tls, view: View, options: CompileOptions): CompiledTls {
  const version = minimumVersion(tls, options);
  const { namespace, name } = root.metadata;
  const host = root.virtualHost?.fqdn?.toLowerCase() ?? "";
  const origin = { object: objectKey("IngressRoute", namespace, name), at: "spec.virtualhost.tls.secretName" };
  const found = findCertificate({ host, namespace, origin }, tls.secretName ?? "", view, options);
  const at = (fact: Fact) => ({ field: fact.code === "TlsSecretMissing" ? "" : "secretName", fact });
  const problems = [...version.problems, ...found.facts.map(at)];
  const usable = version.value !== undefined && found.value !== undefined;
  return {
    tls: usable ? { certificate: found.value, minimumVersion: version.value } : undefined,
    problems,
  };
}

type Found<T> = { readonly value: T | undefined; readonly problems: CompiledTls["problems"] };

/** The oldest version that clients may use, as the object and the flag have it. */
export function minimumVersion(
  tls: Tls,
  { minimumTlsVersion }: Pick<CompileOptions, "minimumTlsVersion">,
): Found<ir.TlsVersion> {
  const field = "minimumProtocolVersion";
  const text = tls.minimumProtocolVersion;
  if (text === undefined || text === "") return { value: minimumTlsVersion, problems: [] };
  const version = TLS_VERSIONS.find((known) => known === text);
  if (version === undefined)
    return { value: undefined, problems: [{ field, fact: { code: "TlsVersionUnknown", version: text } }] };
  if (version >= minimumTlsVersion) return { value: version, problems: [] };
  const fact: Fact = { code: "TlsVersionRaised", version, minimum: minimumTlsVersion };
  return { value: minimumTlsVersion, problems: [{ field, fact }] };
}

export type FoundCertificate = { readonly value: ir.Certificate | undefined; readonly facts: readonly Fact[] };

/** The certificate in a Secret that an object of `namespace` names for `host`. */
export function findCertificate(
  { host, namespace, origin }: { readonly host: string; readonly namespace: string; readonly origin: ir.Origin },
  secretName: string,
  view: View,
  options: CompileOptions,
): FoundCertificate {
  const wrong = (fact: Fact): FoundCertificate => ({ value: undefined, facts: [fact] });
  if (secretName === "") return wrong({ code: "TlsSecretMissing" });
  const reference = parseSecretName(secretName, namespace);
  if (reference === undefined) return wrong({ code: "TlsSecretNameInvalid", secretName });
  // Before anything is said of a Secret of another namespace: whether it exists is not this object's business.
  if (!mayUse(namespace, reference, view))
    return wrong({ code: "TlsSecretNotDelegated", secret: secretName, namespace });

  const secret = view.secret(reference.namespace, reference.name);
  if (secret === undefined) return wrong({ code: "TlsSecretNotFound", secret: secretName });
  const isForeign = reference.namespace !== namespace;
  const unusable = (text: string) =>
    wrong({ code: "TlsSecretUnusable", secret: secretName, reason: { text, isForeign } });
  const [fault] = secret.notes.faults;
  if (fault !== undefined) return unusable(`${fault.at}: ${fault.reason}`);
  if (secret.type !== "kubernetes.io/tls") return unusable("must be of type kubernetes.io/tls");
  if (secret.certificate === undefined) return unusable("has no tls.crt");
  if (secret.key === undefined) return unusable("has no tls.key");
  const pair = options.readCertificates.keyPair(secret.certificate, secret.key);
  if (!pair.ok) return unusable(pair.reason);

  // That nobody sees the certificate of an address is told as it is.
  const covers = isIpv4(host) || pair.dnsNames.some((name) => matchesName(host, name));
  return {
    value: { chainPem: pair.chainPem, keyPem: pair.keyPem, notAfterMs: pair.notAfterMs, origin },
    facts: covers ? [] : [{ code: "CertificateDoesNotCover", secret: secretName, fqdn: host }],
  };
}

type SecretReference = { readonly namespace: string; readonly name: string };

/** `name`, or `namespace/name`. */
export function parseSecretName(secretName: string, ownNamespace: string): SecretReference | undefined {
  const parts = secretName.split("/");
  const [namespace, name] = parts.length === 1 ? [ownNamespace, parts[0]] : parts;
  if (parts.length > 2 || namespace === undefined || name === undefined) return undefined;
  return isNamespace(namespace) && isName(name) ? { namespace, name } : undefined;
}

/** A delegation that could not be read in full lets nobody use anything: what is missing may have narrowed it. */
function mayUse(namespace: string, secret: SecretReference, view: View): boolean {
  if (namespace === secret.namespace) return true;
  return view
    .certificateDelegations(secret.namespace)
    .some(
      ({ delegations, notes }) =>
        notes.faults.length === 0 &&
        delegations.some(
          ({ secretName, targetNamespaces }) =>
            secretName === secret.name && (targetNamespaces.includes(namespace) || targetNamespaces.includes("*")),
        ),
    );
}

/** Certificates that end within this time are worth a warning. */
const SOON_MS = 14 * 24 * 60 * 60 * 1000;

/** What there is to say of a certificate's end at this time. Not a problem of compile's: time passes without a change. */
export function expiryWarning({ notAfterMs }: ir.Certificate, nowMs: number): string | undefined {
  if (notAfterMs - nowMs > SOON_MS) return undefined;
  const end = new Date(notAfterMs).toISOString();
  if (notAfterMs <= nowMs)
    return `the certificate has expired on ${end}, so clients refuse it; it is presented all the same`;
  return `the certificate expires soon, on ${end}`;
}

/** As RFC 6125 has it: a wildcard stands for exactly one label. */
function matchesName(host: string, name: string): boolean {
  if (!name.startsWith("*.")) return host === name;
  const dot = host.indexOf(".");
  return dot > 0 && host.slice(dot) === name.slice(1);
}
