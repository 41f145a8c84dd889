import type { FieldNote } from "../../api/decode.ts";
import { hostnameFault } from "../../api/hostname.ts";
import type { Delegate, HealthCheck, IngressRoute, Route, Service, TcpProxy, Tls } from "../../api/ingress-route.ts";
import { isIpv4 } from "../../api/ip-address.ts";
import type { ObjectKey } from "../../api/object-key.ts";
import type { CompileOptions } from "../options.ts";
import { compileHealthCheck } from "../policies/health-check.ts";
import type { PolicyProblem } from "../policies/policy.ts";
import { compileRetry } from "../policies/retry.ts";
import { compileStrategy } from "../policies/strategy.ts";
import { compileTimeout } from "../policies/timeout.ts";
import type { Fact, Problem, Subject } from "../problems.ts";
import { parseSecretName } from "../tls.ts";
import { validationFault } from "../upstreams.ts";
import { neverMatches, pathFault, rewriteFault, withoutTrailingSlash } from "./paths.ts";

/** Envoy holds the sum of weights in 32 bits. */
const MAX_WEIGHT_SUM = 2 ** 32 - 1;

const TLS_VERSIONS: ReadonlySet<string> = new Set(["1.1", "1.2", "1.3"]);

/** Everything that is the matter with an object by itself, whatever else exists. */
export function selfProblems(key: ObjectKey, ingressRoute: IngressRoute): readonly Problem[] {
  const faulted = new Set(ingressRoute.notes.faults.map(({ at }) => at));
  const check: Check = { key, ingressRoute, faulted, problems: [] };
  checkObject(check);
  return check.problems;
}

/** Why a root may hold no host at all, by where it lives; undefined for objects that may. */
export function rootNamespaceProblem(
  key: ObjectKey,
  { metadata: { namespace }, virtualHost }: IngressRoute,
  { rootNamespaces }: Pick<CompileOptions, "rootNamespaces">,
): Problem | undefined {
  if (virtualHost === undefined || rootNamespaces.length === 0 || rootNamespaces.includes(namespace)) return undefined;
  const subject = { kind: "object" } as const;
  return { object: key, at: "metadata.namespace", subject, code: "RootNamespaceNotAllowed", namespace };
}

/** Whether the backends of a root do TLS themselves. A secretName beside it wins: then Envoy does. */
export function passesThrough({ virtualHost, tcpProxy }: IngressRoute): boolean {
  return tcpProxy !== undefined && virtualHost?.tls?.passthrough === true && !virtualHost.tls.secretName;
}

/** The subject of a sentence about `spec.routes[index]`. */
export function routeSubject(ingressRoute: IngressRoute, index: number, service?: string): Subject {
  const match = ingressRoute.routes[index]?.match || `spec.routes[${index}]`;
  return service === undefined ? { kind: "route", match } : { kind: "route", match, service };
}

/** The object at hand, and what has been found so far. */
type Check = {
  readonly key: ObjectKey;
  readonly ingressRoute: IngressRoute;
  /** Paths of the fields that could not be read. */
  readonly faulted: ReadonlySet<string>;
  readonly problems: Problem[];
};

function checkObject(check: Check): void {
  const { notes, virtualHost, tcpProxy, healthCheck, routes } = check.ingressRoute;
  for (const note of notes.faults) reportNote(check, "InvalidField", note);
  for (const note of notes.warnings) reportNote(check, "FieldIgnored", note);
  if (virtualHost !== undefined) checkVirtualHost(check, virtualHost);
  if (tcpProxy !== undefined) checkTcpProxy(check, tcpProxy, virtualHost);
  checkHealthCheck(check, "spec.healthCheck", healthCheck, { kind: "object" });
  if (routes.length === 0 && tcpProxy === undefined && !isFaulted(check, "spec.routes")) {
    report(check, "spec.routes", { code: "RoutesMissing" });
  }
  const matches = new Set<string>();
  for (const [i, route] of routes.entries()) {
    if (!check.faulted.has(`spec.routes[${i}]`)) checkRoute(check, route, i, matches);
  }
}

function checkVirtualHost(check: Check, { fqdn, tls }: NonNullable<IngressRoute["virtualHost"]>): void {
  const at = "spec.virtualhost.fqdn";
  const reason = fqdn === undefined ? undefined : hostnameFault(fqdn);
  if (!isFaulted(check, at)) {
    if (fqdn === undefined || fqdn === "") report(check, at, { code: "FqdnMissing" });
    else if (reason !== undefined) report(check, at, { code: "FqdnInvalid", fqdn, reason });
    else if (tls !== undefined && isIpv4(fqdn)) report(check, at, { code: "TlsForAddress", fqdn });
  }
  const version = tls?.minimumProtocolVersion;
  if (version && !TLS_VERSIONS.has(version)) {
    report(check, "spec.virtualhost.tls.minimumProtocolVersion", { code: "TlsVersionUnknown", version });
  }
  if (tls?.passthrough && check.ingressRoute.tcpProxy === undefined) {
    report(check, "spec.virtualhost.tls.passthrough", { code: "PassthroughWithoutTcpProxy" });
  }
  if (tls !== undefined) checkTlsSecret(check, tls);
}

function checkTlsSecret(check: Check, { secretName }: Tls): void {
  const { metadata } = check.ingressRoute;
  const at = "spec.virtualhost.tls";
  if (secretName) {
    if (parseSecretName(secretName, metadata.namespace) !== undefined) return;
    report(check, `${at}.secretName`, { code: "TlsSecretNameInvalid", secretName });
  } else if (!isFaulted(check, `${at}.secretName`) && !passesThrough(check.ingressRoute)) {
    report(check, at, { code: "TlsSecretMissing" });
  }
}

function checkTcpProxy(check: Check, { services, delegate }: TcpProxy, virtualHost: IngressRoute["virtualHost"]): void {
  const at = "spec.tcpproxy";
  const subject = { kind: "tcpproxy" } as const;
  if (virtualHost !== undefined && virtualHost.tls === undefined && !isFaulted(check, "spec.virtualhost.tls")) {
    report(check, at, { code: "TcpProxyWithoutTls" });
  }
  checkTarget(check, services, delegate, at, subject, (service) => ({ ...subject, service }));
}

/** What a route and a tcpproxy have in common: services or a delegate. */
function checkTarget(
  check: Check,
  services: readonly Service[],
  delegate: Delegate | undefined,
  at: string,
  subject: Subject,
  serviceSubject: (service: string) => Subject,
): void {
  const reportField = (field: string, fact: Fact) => report(check, `${at}.${field}`, fact, subject);
  if (services.length > 0 && delegate !== undefined) reportField("delegate", { code: "ServicesAndDelegate" });
  if (services.length === 0 && delegate === undefined) {
    if (!isFaulted(check, `${at}.services`) && !isFaulted(check, `${at}.delegate`)) {
      report(check, at, { code: "NeitherServicesNorDelegate" }, subject);
    }
  }
  if (delegate !== undefined && !delegate.name && !isFaulted(check, `${at}.delegate.name`)) {
    reportField("delegate.name", { code: "DelegateNameMissing" });
  }
  if (delegate !== undefined) return;
  for (const [i, service] of services.entries()) {
    const about = service.name === undefined ? subject : serviceSubject(service.name);
    checkService(check, service, `${at}.services[${i}]`, about);
  }
  const weights = services.map(({ weight }) => weight ?? 0);
  if (weights.reduce((sum, weight) => sum + Math.max(weight, 0), 0) > MAX_WEIGHT_SUM) {
    reportField("services", { code: "WeightSumTooLarge" });
  }
}

function checkRoute(check: Check, route: Route, index: number, matches: Set<string>): void {
  const at = `spec.routes[${index}]`;
  const subject = routeSubject(check.ingressRoute, index);
  const reportField = (field: string, fact: Fact) => report(check, `${at}.${field}`, fact, subject);
  checkMatch(check, route, `${at}.match`, subject, matches);
  checkTarget(check, route.services, route.delegate, at, subject, (service) =>
    routeSubject(check.ingressRoute, index, service),
  );
  if (route.delegate !== undefined) {
    const ignored = (
      ["prefixRewrite", "enableWebsockets", "permitInsecure", "timeoutPolicy", "retryPolicy"] as const
    ).filter((field) => route[field]);
    if (ignored.length > 0) reportField(ignored[0] ?? "", { code: "DelegateAttributesIgnored", fields: ignored });
    return;
  }
  const { prefixRewrite } = route;
  const fault = prefixRewrite === undefined ? undefined : (pathFault(prefixRewrite) ?? rewriteFault(prefixRewrite));
  if (fault !== undefined) reportField("prefixRewrite", { code: "PrefixRewriteInvalid", reason: fault });
  const timeout = compileTimeout(route.timeoutPolicy);
  reportPolicy(check, `${at}.timeoutPolicy`, timeout.problems, subject);
  reportPolicy(check, `${at}.retryPolicy`, compileRetry(route.retryPolicy, timeout.value).problems, subject);
}

function checkMatch(check: Check, route: Route, at: string, subject: Subject, matches: Set<string>): void {
  if (isFaulted(check, at)) return;
  const fault = route.match ? pathFault(route.match) : "is required";
  if (!route.match || fault !== undefined) {
    report(check, at, { code: "MatchInvalid", reason: fault ?? "is required" }, subject);
    return;
  }
  const match = withoutTrailingSlash(route.match);
  if (matches.has(match)) report(check, at, { code: "MatchDuplicate" }, subject);
  matches.add(match);
  const never = neverMatches(match);
  if (never !== undefined) report(check, at, { code: "RouteNeverMatches", reason: never }, subject);
  if (match.includes("*")) {
    const reason = "* stands for itself, not for any text; a prefix already matches everything below it";
    report(check, at, { code: "FieldIgnored", field: "match", reason }, subject);
  }
}

function checkService(check: Check, service: Service, at: string, subject: Subject): void {
  if (check.faulted.has(at)) return;
  const reportField = (field: string, fact: Fact) => report(check, `${at}.${field}`, fact, subject);
  if (!service.name && !isFaulted(check, `${at}.name`)) reportField("name", { code: "ServiceNameMissing" });
  const { port, weight } = service;
  if ((port === undefined || port < 1 || port > 65535) && !isFaulted(check, `${at}.port`)) {
    reportField("port", { code: "PortInvalid", port });
  }
  if (weight !== undefined && weight < 0) reportField("weight", { code: "WeightNegative" });
  reportPolicy(check, `${at}.strategy`, compileStrategy(service.strategy).problems, subject);
  checkHealthCheck(check, `${at}.healthCheck`, service.healthCheck, subject);
  const reason = service.validation && validationFault(service.validation);
  const parts = ["validation", "validation.caSecret", "validation.subjectName"];
  if (reason !== undefined && !parts.some((part) => isFaulted(check, `${at}.${part}`))) {
    report(check, at, { code: "ValidationUnusable", reason }, subject);
  }
}

function checkHealthCheck(check: Check, at: string, healthCheck: HealthCheck | undefined, subject: Subject): void {
  if (healthCheck === undefined) return;
  reportPolicy(check, at, compileHealthCheck(healthCheck).problems, subject);
}

function reportPolicy(check: Check, at: string, problems: readonly PolicyProblem[], subject: Subject): void {
  for (const { field, fact } of problems) {
    const path = field === "" ? at : `${at}.${field}`;
    if (!isFaulted(check, path)) report(check, path, fact, subject);
  }
}

function reportNote(check: Check, code: "InvalidField" | "FieldIgnored", { at, reason }: FieldNote): void {
  const [, index, serviceIndex, field] = /^spec\.routes\[(\d+)\](?:\.services\[(\d+)\])?\.?(.*)$/s.exec(at) ?? [];
  if (index === undefined) {
    report(check, at, { code, field: at, reason });
    return;
  }
  const service = check.ingressRoute.routes[Number(index)]?.services[Number(serviceIndex)];
  const name = serviceIndex === undefined ? undefined : (service?.name ?? `services[${serviceIndex}]`);
  report(check, at, { code, field: field ?? "", reason }, routeSubject(check.ingressRoute, Number(index), name));
}

/** Whether the field, or something around it, could not be read: then there is nothing more to say of it. */
function isFaulted(check: Check, at: string): boolean {
  for (let path = at; path !== ""; path = path.slice(0, Math.max(path.lastIndexOf("."), 0))) {
    if (check.faulted.has(path)) return true;
  }
  return false;
}

function report(check: Check, at: string, fact: Fact, subject: Subject = { kind: "object" }): void {
  check.problems.push({ object: check.key, at, subject, ...fact });
}
