import { inKib } from "../api/kib.ts";
import { type ObjectKey, shortName } from "../api/object-key.ts";
import { printable } from "../api/printable.ts";

/** How many health checks one object can inherit below one root, each of which makes all of its routes again. */
export const MAX_INHERITED = 16;

/**
 * One thing that is the matter with one object. The codes are stable and stand in docs/problems.md.
 *
 * `subject` names the route and the service that the sentence is about.
 */
export type Problem = {
  readonly object: ObjectKey;
  /** Path of the field, such as `spec.routes[2].services[0].port`. */
  readonly at: string;
  readonly subject: Subject;
  /** How many more of the same code, at the same field or others, are not told. */
  readonly more?: number;
} & Fact;

export type Subject =
  | { readonly kind: "object" }
  | { readonly kind: "route"; readonly match: string; readonly service?: string }
  | { readonly kind: "tcpproxy"; readonly service?: string }
  /** The Service itself, whoever uses it: told once for each object, where that names it first. */
  | { readonly kind: "service"; readonly service: string };

export type Fact =
  // A: the object is wrong in itself, or breaks a rule of ownership. The whole object is ignored.
  | { readonly code: "InvalidField"; readonly field: string; readonly reason: string }
  | { readonly code: "RootNamespaceNotAllowed"; readonly namespace: string }
  | { readonly code: "FqdnMissing" }
  | { readonly code: "FqdnInvalid"; readonly fqdn: string; readonly reason: string }
  | { readonly code: "FqdnHeld"; readonly fqdn: string; readonly holder: ObjectKey }
  | { readonly code: "RoutesMissing" }
  | { readonly code: "MatchInvalid"; readonly reason: string }
  | { readonly code: "MatchDuplicate" }
  | { readonly code: "ServicesAndDelegate" }
  | { readonly code: "NeitherServicesNorDelegate" }
  | { readonly code: "ServiceNameMissing" }
  | { readonly code: "PortInvalid"; readonly port: number | undefined }
  | { readonly code: "WeightNegative" }
  | { readonly code: "WeightSumTooLarge" }
  | { readonly code: "PrefixRewriteInvalid"; readonly reason: string }
  | { readonly code: "DurationInvalid"; readonly field: string; readonly text: string; readonly reason: string }
  | { readonly code: "RetryCountNegative" }
  | { readonly code: "HealthCheckInvalid"; readonly field: string; readonly reason: string }
  | { readonly code: "DelegateNameMissing" }
  /** Told of the first of the object's routes that lie outside; there are so many `others`. */
  | { readonly code: "OutsidePrefix"; readonly prefix: string; readonly parent: ObjectKey; readonly others: number }
  /** Of a long cycle, `path` has the two ends; `omitted` steps stand between them. */
  | { readonly code: "DelegationCycle"; readonly path: readonly ObjectKey[]; readonly omitted: number }
  | { readonly code: "TlsSecretMissing" }
  | { readonly code: "TlsSecretNameInvalid"; readonly secretName: string }
  | { readonly code: "TlsSecretNotFound"; readonly secret: string }
  | { readonly code: "TlsSecretUnusable"; readonly secret: string; readonly reason: SecretReason }
  | { readonly code: "TlsSecretNotDelegated"; readonly secret: string; readonly namespace: string }
  | { readonly code: "TlsVersionUnknown"; readonly version: string }
  | { readonly code: "PassthroughWithoutTcpProxy" }
  | { readonly code: "ValidationUnusable"; readonly reason: string | undefined }
  | { readonly code: "TcpProxyWithoutTls" }
  | { readonly code: "TcpProxyMissing" }
  // B: the route points to something that is not there. That route answers 503.
  | { readonly code: "ServiceNotFound"; readonly namespace: string }
  | {
      readonly code: "ServicePortNotFound";
      readonly port: number | string;
      /** The first of those that there are; `omitted` others follow. */
      readonly available: readonly (number | string)[];
      readonly omitted: number;
    }
  | { readonly code: "ExternalNameInvalid"; readonly externalName: string }
  | { readonly code: "ExternalNameIsLoopback"; readonly externalName: string }
  | {
      readonly code: "AuthoritiesTooLarge";
      readonly namespace: string;
      readonly bytes: number;
      readonly maxBytes: number;
    }
  | {
      readonly code: "TooManyUpstreams";
      /** What has them together. */
      readonly scope: "host" | "Ingress";
      readonly namespace: string;
      readonly count: number;
      readonly max: number;
    }
  | { readonly code: "DelegateIsRoot"; readonly delegate: ObjectKey }
  | { readonly code: "IngressHostInvalid"; readonly host: string; readonly reason: string }
  | { readonly code: "IngressPathInvalid"; readonly reason: string }
  | { readonly code: "IngressPathTooCostly" }
  | { readonly code: "IngressWithoutBackend" }
  | { readonly code: "IngressBackendUnsupported" }
  | {
      readonly code: "IngressTlsUnusable";
      readonly host: string;
      readonly secret: string;
      readonly reason: SecretReason;
    }
  | { readonly code: "IngressHttpsHeld"; readonly host: string; readonly holder: ObjectKey; readonly reason: string }
  // C: served, but look here.
  | { readonly code: "FieldIgnored"; readonly field: string; readonly reason: string }
  | { readonly code: "TlsVersionRaised"; readonly version: string; readonly minimum: string }
  | { readonly code: "TlsForAddress"; readonly fqdn: string }
  | { readonly code: "CertificateDoesNotCover"; readonly secret: string; readonly fqdn: string }
  | { readonly code: "DelegateMissing"; readonly delegate: ObjectKey }
  | { readonly code: "DelegateInvalid"; readonly delegate: ObjectKey }
  | { readonly code: "HealthCheckNotInherited"; readonly delegate: ObjectKey }
  | { readonly code: "DelegateAttributesIgnored"; readonly fields: readonly string[] }
  /** Told of some of the object's routes; the last of them counts the `others`. */
  | { readonly code: "ShadowedByParent"; readonly parent: ObjectKey; readonly others: number }
  | {
      readonly code: "ShadowedBySibling";
      readonly parent: ObjectKey;
      readonly prefix: string;
      readonly others: number;
    }
  | { readonly code: "RouteNeverMatches"; readonly reason: string }
  | { readonly code: "RetryCountZero" }
  | { readonly code: "PerTryTimeoutTooLong"; readonly text: string }
  | { readonly code: "HealthCheckTimeoutTooLong"; readonly maxSeconds: number }
  | {
      readonly code: "EndpointsNotChecked";
      readonly namespace: string;
      /** How many connections the checks of one port may take now, and those of the namespace. */
      readonly connections: number;
      readonly max: number;
    }
  | { readonly code: "StrategyUnknown"; readonly strategy: string; readonly known: readonly string[] }
  | { readonly code: "UpstreamProtocolContradictory"; readonly port: number; readonly protocols: readonly string[] }
  | { readonly code: "ServiceAnnotationUnreadable"; readonly annotation: string }
  | { readonly code: "ServiceLimitZero"; readonly annotation: string }
  | { readonly code: "IngressAnnotationIgnored"; readonly annotation: string; readonly reason: string }
  | { readonly code: "IngressTlsHostUnused"; readonly host: string }
  | { readonly code: "IngressCertificateHeld"; readonly host: string; readonly holder: ObjectKey }
  | { readonly code: "IngressPathHeld"; readonly holder: ObjectKey }
  | { readonly code: "IngressNowhere"; readonly annotation: string };

/** What is the matter with a Secret, and whether it is one of another namespace: then the reason is not for the object's author. */
export type SecretReason = { readonly text: string; readonly isForeign: boolean };

export type ProblemCode = Fact["code"];

/** A: the object is ignored. B: the route answers 503. C: served as written, with a warning. */
export type ProblemClass = "A" | "B" | "C";

export const CLASS_OF: Readonly<Record<ProblemCode, ProblemClass>> = {
  InvalidField: "A",
  RootNamespaceNotAllowed: "A",
  FqdnMissing: "A",
  FqdnInvalid: "A",
  FqdnHeld: "A",
  RoutesMissing: "A",
  MatchInvalid: "A",
  MatchDuplicate: "A",
  ServicesAndDelegate: "A",
  NeitherServicesNorDelegate: "A",
  ServiceNameMissing: "A",
  PortInvalid: "A",
  WeightNegative: "A",
  WeightSumTooLarge: "A",
  PrefixRewriteInvalid: "A",
  DurationInvalid: "A",
  RetryCountNegative: "A",
  HealthCheckInvalid: "A",
  DelegateNameMissing: "A",
  OutsidePrefix: "A",
  DelegationCycle: "A",
  TlsSecretMissing: "A",
  TlsSecretNameInvalid: "A",
  TlsSecretNotFound: "A",
  TlsSecretUnusable: "A",
  TlsSecretNotDelegated: "A",
  TlsVersionUnknown: "A",
  PassthroughWithoutTcpProxy: "A",
  ValidationUnusable: "A",
  TcpProxyWithoutTls: "A",
  TcpProxyMissing: "A",
  ServiceNotFound: "B",
  ServicePortNotFound: "B",
  ExternalNameInvalid: "B",
  ExternalNameIsLoopback: "B",
  AuthoritiesTooLarge: "B",
  TooManyUpstreams: "B",
  DelegateIsRoot: "B",
  IngressHostInvalid: "B",
  IngressPathInvalid: "B",
  IngressPathTooCostly: "B",
  IngressWithoutBackend: "B",
  IngressBackendUnsupported: "B",
  IngressTlsUnusable: "B",
  IngressHttpsHeld: "B",
  FieldIgnored: "C",
  TlsVersionRaised: "C",
  TlsForAddress: "C",
  CertificateDoesNotCover: "C",
  DelegateMissing: "C",
  DelegateInvalid: "C",
  HealthCheckNotInherited: "C",
  DelegateAttributesIgnored: "C",
  ShadowedByParent: "C",
  ShadowedBySibling: "C",
  RouteNeverMatches: "C",
  RetryCountZero: "C",
  PerTryTimeoutTooLong: "C",
  HealthCheckTimeoutTooLong: "C",
  EndpointsNotChecked: "C",
  StrategyUnknown: "C",
  UpstreamProtocolContradictory: "C",
  ServiceAnnotationUnreadable: "C",
  ServiceLimitZero: "C",
  IngressAnnotationIgnored: "C",
  IngressTlsHostUnused: "C",
  IngressCertificateHeld: "C",
  IngressPathHeld: "C",
  IngressNowhere: "C",
};

export function classOf(problem: Problem): ProblemClass {
  return CLASS_OF[problem.code];
}

/** The sentence for the object's author, such as `route "/foo": service "home": weight must be greater than or equal to zero`. */
export function describe(problem: Problem): string {
  const sentence = shorten(printable(`${describeSubject(problem.subject)}${describeFact(problem)}`), MAX_SENTENCE);
  return problem.more === undefined ? sentence : `${sentence} (and ${problem.more} more like this)`;
}

/** A status has to fit into an object, whatever its author wrote. */
const MAX_SENTENCE = 2000;
export const MAX_QUOTED = 300;

function describeSubject(subject: Subject): string {
  if (subject.kind === "object") return "";
  if (subject.kind === "service") return `service ${quoted(subject.service)}: `;
  const place = subject.kind === "route" ? `route ${quoted(subject.match)}` : "tcpproxy";
  return subject.service === undefined ? `${place}: ` : `${place}: service ${quoted(subject.service)}: `;
}

function describeFact(fact: Fact & Pick<Problem, "at">): string {
  switch (fact.code) {
    case "InvalidField":
      return fact.field === "" ? fact.reason : `${fact.field}: ${fact.reason}`;
    case "RootNamespaceNotAllowed":
      return `a root IngressRoute may not live in namespace ${quoted(fact.namespace)}; this cluster allows roots in certain namespaces only, ask for a delegation from one of them`;
    case "FqdnMissing":
      return "spec.virtualhost.fqdn: a root IngressRoute needs a host name";
    case "FqdnInvalid":
      return `spec.virtualhost.fqdn: ${quoted(fact.fqdn)} ${fact.reason}`;
    case "FqdnHeld":
      return `fqdn ${quoted(fact.fqdn)} is held by the IngressRoute ${quoted(shortName(fact.holder))}`;
    case "RoutesMissing":
      return "spec.routes: at least one route is needed";
    case "MatchInvalid":
      return `match ${fact.reason}`;
    case "MatchDuplicate":
      return "the same match stands twice in this object; keep one of them";
    case "ServicesAndDelegate":
      return "has both services and delegate; keep one of them";
    case "NeitherServicesNorDelegate":
      return "needs either services or delegate";
    case "ServiceNameMissing":
      return "services need a name";
    case "PortInvalid":
      return fact.port === undefined
        ? "port is required, a number from 1 to 65535"
        : `port ${fact.port} must be a number from 1 to 65535`;
    case "WeightNegative":
      return "weight must be greater than or equal to zero";
    case "WeightSumTooLarge":
      return "the weights of its services add up to more than 4294967295";
    case "PrefixRewriteInvalid":
      return `prefixRewrite ${fact.reason}`;
    case "DurationInvalid":
      return `${fact.field}: ${quoted(fact.text)} ${fact.reason}`;
    case "RetryCountNegative":
      return "retryPolicy.count must be greater than or equal to zero";
    case "HealthCheckInvalid":
      return `healthCheck.${fact.field} ${fact.reason}`;
    case "DelegateNameMissing":
      return "delegate needs the name of an IngressRoute";
    case "OutsidePrefix":
      return `lies outside the prefix ${quoted(fact.prefix)} that ${quoted(shortName(fact.parent))} delegates to this object${orOthers(fact.others)}`;
    case "DelegationCycle":
      return `delegation makes a cycle: ${describePath(fact.path.map(shortName), fact.omitted)}`;
    case "TlsSecretMissing":
      return "spec.virtualhost.tls: needs secretName, or passthrough together with tcpproxy";
    case "TlsSecretNameInvalid":
      return `spec.virtualhost.tls.secretName: ${quoted(fact.secretName)} is neither a name nor a namespace and a name with a slash between them`;
    case "TlsSecretNotFound":
      return `spec.virtualhost.tls.secretName: there is no Secret ${quoted(fact.secret)}`;
    case "TlsSecretUnusable":
      return `spec.virtualhost.tls.secretName: Secret ${quoted(fact.secret)}: ${secretReason(fact.reason)}`;
    case "TlsSecretNotDelegated":
      return `spec.virtualhost.tls.secretName: no TLSCertificateDelegation lets namespace ${quoted(fact.namespace)} use Secret ${quoted(fact.secret)}`;
    case "TlsVersionUnknown":
      return `spec.virtualhost.tls.minimumProtocolVersion: ${quoted(fact.version)} is none of 1.1, 1.2 and 1.3`;
    case "PassthroughWithoutTcpProxy":
      return "spec.virtualhost.tls.passthrough: needs tcpproxy; HTTP routes need a secretName instead";
    case "ValidationUnusable":
      return `upstreamValidation requested but ${fact.reason ?? "secret not found or misconfigured"}`;
    case "TlsVersionRaised":
      return `${fact.at}: ${fact.version} is below what this cluster allows, so ${fact.minimum} is used`;
    case "TlsForAddress":
      return `spec.virtualhost.fqdn: ${quoted(fact.fqdn)} is an address, which clients do not name in TLS, so their handshakes fail`;
    case "CertificateDoesNotCover":
      return `${fact.at}: the certificate in Secret ${quoted(fact.secret)} is not for ${quoted(fact.fqdn)}, so clients will refuse it`;
    case "TcpProxyWithoutTls":
      return "spec.tcpproxy: needs spec.virtualhost.tls, because hosts are told apart by the server name of TLS";
    case "TcpProxyMissing":
      return "spec.tcpproxy: is missing, and a tcpproxy delegates to this object";
    case "ServiceNotFound":
      return `no such Service in namespace ${quoted(fact.namespace)}`;
    case "ServicePortNotFound":
      return `the Service has no port ${fact.port}${fact.available.length === 0 ? "" : `, only ${fact.available.join(", ")}${fact.omitted === 0 ? "" : ` and ${fact.omitted} more`}`}`;
    case "ExternalNameInvalid":
      return fact.externalName === ""
        ? "the Service is of type ExternalName and has no externalName"
        : `externalName ${quoted(fact.externalName)} is not a DNS name or an IP address`;
    case "ExternalNameIsLoopback":
      return `externalName ${quoted(fact.externalName)} leads to the proxy itself, which is not allowed`;
    case "AuthoritiesTooLarge":
      return `its caSecret brings the certificates that namespace ${quoted(fact.namespace)} trusts below this host to ${inKib(fact.bytes)} KiB, and ${inKib(fact.maxBytes)} are the most; each use of a Service holds its own copy, so leave certificates out of ca.crt, or use fewer subject names and health checks`;
    case "TooManyUpstreams":
      return `namespace ${quoted(fact.namespace)} uses Services in ${fact.count} different ways in this ${fact.scope}, and ${fact.max} are the most; from here on only uses that stand before are served, so give all routes to a port of a Service the same healthCheck, strategy and validation, or spread them over several ${fact.scope === "host" ? "hosts" : "Ingresses and hosts"}`;
    case "DelegateIsRoot":
      return `delegates to ${quoted(shortName(fact.delegate))}, which has a virtualhost and so is a root itself; a delegated IngressRoute has none`;
    case "FieldIgnored":
      return `${fact.field}: ${fact.reason}`;
    case "DelegateMissing":
      return `delegates to ${quoted(shortName(fact.delegate))}, which does not exist`;
    case "DelegateInvalid":
      return `delegates to ${quoted(shortName(fact.delegate))}, which is invalid`;
    case "HealthCheckNotInherited":
      return `${quoted(shortName(fact.delegate))} does not inherit the health check here, because it inherits ${MAX_INHERITED} others below the same root already; give it a healthCheck of its own`;
    case "DelegateAttributesIgnored":
      return `${fact.fields.join(", ")} ${fact.fields.length === 1 ? "has" : "have"} no effect on a route that delegates; set it on the delegated routes`;
    case "ShadowedByParent":
      return `never serves, because ${quoted(shortName(fact.parent))} has a route of its own with this match${orOthers(fact.others)}`;
    case "ShadowedBySibling":
      return `never serves, because ${quoted(shortName(fact.parent))} delegates ${quoted(fact.prefix)} to another IngressRoute${orOthers(fact.others)}`;
    case "RouteNeverMatches":
      return `no request can match it: ${fact.reason}`;
    case "RetryCountZero":
      return "retryPolicy.count: 0 counts as 1; leave retryPolicy out for no retries";
    case "PerTryTimeoutTooLong":
      return `retryPolicy.perTryTimeout: ${quoted(fact.text)} is longer than the request may take, so it is ignored`;
    case "HealthCheckTimeoutTooLong":
      return `healthCheck.timeoutSeconds: ${fact.maxSeconds} is the most that is allowed, so it is used`;
    case "EndpointsNotChecked":
      return `some endpoints are not health-checked and count as healthy: each different healthCheck takes a connection to each of them, and namespace ${quoted(fact.namespace)} has ${fact.max} of these, of which one port of a Service gets ${fact.connections}; give all routes to the Service the same healthCheck`;
    case "StrategyUnknown":
      return `strategy ${quoted(fact.strategy)} is none of ${fact.known.join(", ")}; RoundRobin is used`;
    case "UpstreamProtocolContradictory":
      return `annotations of the Service name port ${fact.port} for ${fact.protocols.join(" and ")}; ${fact.protocols[0]} is used`;
    case "ServiceAnnotationUnreadable":
      return `the Service's annotation ${fact.annotation} is not a whole number from 1 to 4294967295, so it is ignored`;
    case "ServiceLimitZero":
      return `the Service's annotation ${fact.annotation} is 0, which sets no limit: Envoy's own stands`;
    case "IngressHostInvalid":
      return `host ${quoted(fact.host)} ${fact.reason}`;
    case "IngressPathInvalid":
      return `path ${fact.reason}`;
    case "IngressPathTooCostly":
      return "path is a regular expression too many: those of the host are too much work for each request";
    case "IngressWithoutBackend":
      return "has neither paths nor a default backend, so nothing answers";
    case "IngressBackendUnsupported":
      return "the backend is a resource; only Services are served";
    case "IngressTlsUnusable":
      return `${quoted(fact.host)} is not served over https by this object, because ${fact.secret === "" ? "" : `of Secret ${quoted(fact.secret)}: `}${secretReason(fact.reason)}`;
    case "IngressHttpsHeld":
      return `${quoted(fact.host)} is not served over https by this object, because ${quoted(shortName(fact.holder))} ${fact.reason}`;
    case "IngressAnnotationIgnored":
      return `annotation ${fact.annotation} is ignored: ${fact.reason}`;
    case "IngressTlsHostUnused":
      return `tls names the host ${quoted(fact.host)}, for which this object has no rule`;
    case "IngressCertificateHeld":
      return `clients of ${quoted(fact.host)} see the certificate of ${quoted(shortName(fact.holder))}, not this one`;
    case "IngressPathHeld":
      return `the path is served by ${quoted(shortName(fact.holder))}`;
    case "IngressNowhere":
      return `is served on no port: ${fact.annotation} takes it from http, and without a usable certificate it is not on https`;
  }
}

/** Of the object's other routes of which the sentence is true. */
function orOthers(others: number): string {
  return others === 0 ? "" : `; the same is true of ${others} more of its routes`;
}

/** The namespace may use the Secret, not look into it: see ADR 0013. */
function secretReason({ text, isForeign }: SecretReason): string {
  return isForeign ? "cannot be presented as it is; its owners can find out why" : text;
}

/** What {@link describe} leaves out, for whoever runs Isoline: it is about something in another namespace. */
export function withheld(problem: Problem): string | undefined {
  const reason =
    problem.code === "TlsSecretUnusable" || problem.code === "IngressTlsUnusable" ? problem.reason : undefined;
  return reason?.isForeign ? shorten(printable(reason.text), MAX_SENTENCE) : undefined;
}

function describePath(steps: readonly string[], omitted: number): string {
  if (omitted === 0) return steps.join(" -> ");
  const half = Math.ceil(steps.length / 2);
  return [...steps.slice(0, half), `(${omitted} more)`, ...steps.slice(half)].join(" -> ");
}

/** User text may be huge or hold control characters; a status stays one readable line. */
function quoted(text: string): string {
  return `"${printable(shorten(text, MAX_QUOTED)).replaceAll('"', '\\"')}"`;
}

/** Never cuts a character of two units in half: what is left of it would change on its way through UTF-8. */
function shorten(text: string, length: number): string {
  if (text.length <= length) return text;
  return `${text.slice(0, length).replace(/[\ud800-\udbff]$/, "")}…`;
}
