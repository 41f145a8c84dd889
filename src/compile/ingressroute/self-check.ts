import type { FieldNote } from "../../api/decode.ts";
import { hostnameFault } from "../../api/hostname.ts";
import type { Delegate, HealthCheck, IngressRoute, Route, Service, TcpProxy } from "../../api/ingress-route.ts";
import type { ObjectKey } from "../../api/object-key.ts";
import { compileHealthCheck } from "../policies/health-check.ts";
import type { PolicyProblem } from "../policies/policy.ts";
import { compileRetry } from "../policies/retry.ts";
import { compileStrategy } from "../policies/strategy.ts";
import { compileTimeout } from "../policies/timeout.ts";
import type { Fact, Problem, Subject } from "../problems.ts";
import { neverMatches, pathFault, rewriteFault, withoutTrailingSlash } from "./paths.ts";

/** Envoy holds the sum of weights in 32 bits. */
const MAX_WEIGHT_SUM = 2 ** 32 - 1;

/** Everything that is the matter with an object by itself, whatever else exists. */
export function selfProblems(key: ObjectKey, ingressRoute: IngressRoute): readonly Problem[] {
  const check = new SelfCheck(key, ingressRoute);
  check.run();
  return check.problems;
}

/** The subject of a sentence about `spec.routes[index]`. */
export function routeSubject(ingressRoute: IngressRoute, index: number, service?: string): Subject {
  const match = ingressRoute.routes[index]?.match || `spec.routes[${index}]`;
  return service === undefined ? { kind: "route", match } : { kind: "route", match, service };
}

class SelfCheck {
  readonly problems: Problem[] = [];
  readonly #key: ObjectKey;
  readonly #ingressRoute: IngressRoute;
  readonly #faulted: ReadonlySet<string>;

  constructor(key: ObjectKey, ingressRoute: IngressRoute) {
    this.#key = key;
    this.#ingressRoute = ingressRoute;
    this.#faulted = new Set(ingressRoute.notes.faults.map(({ at }) => at));
  }

  run(): void {
    const { notes, virtualHost, tcpProxy, healthCheck, routes } = this.#ingressRoute;
    for (const note of notes.faults) this.#note("InvalidField", note);
    for (const note of notes.warnings) this.#note("FieldIgnored", note);
    if (virtualHost !== undefined) this.#virtualHost(virtualHost);
    if (tcpProxy !== undefined) this.#tcpProxy(tcpProxy, virtualHost);
    this.#healthCheck("spec.healthCheck", healthCheck, { kind: "object" });
    if (routes.length === 0 && tcpProxy === undefined && !this.#isFaulted("spec.routes")) {
      this.#report("spec.routes", { code: "RoutesMissing" });
    }
    const matches = new Set<string>();
    for (const [i, route] of routes.entries()) {
      if (!this.#faulted.has(`spec.routes[${i}]`)) this.#route(route, i, matches);
    }
  }

  #virtualHost({ fqdn, tls }: NonNullable<IngressRoute["virtualHost"]>): void {
    const at = "spec.virtualhost.fqdn";
    const reason = fqdn === undefined ? undefined : hostnameFault(fqdn);
    if (!this.#isFaulted(at)) {
      if (fqdn === undefined || fqdn === "") this.#report(at, { code: "FqdnMissing" });
      else if (reason !== undefined) this.#report(at, { code: "FqdnInvalid", fqdn, reason });
    }
    if (tls?.passthrough && this.#ingressRoute.tcpProxy === undefined) {
      this.#report("spec.virtualhost.tls.passthrough", { code: "PassthroughWithoutTcpProxy" });
    }
  }

  #tcpProxy({ services, delegate }: TcpProxy, virtualHost: IngressRoute["virtualHost"]): void {
    const at = "spec.tcpproxy";
    const subject = { kind: "tcpproxy" } as const;
    if (virtualHost !== undefined && virtualHost.tls === undefined && !this.#isFaulted("spec.virtualhost.tls")) {
      this.#report(at, { code: "TcpProxyWithoutTls" });
    }
    this.#target(services, delegate, at, subject, (service) => ({ ...subject, service }));
  }

  /** What a route and a tcpproxy have in common: services or a delegate. */
  #target(
    services: readonly Service[],
    delegate: Delegate | undefined,
    at: string,
    subject: Subject,
    serviceSubject: (service: string) => Subject,
  ): void {
    const report = (field: string, fact: Fact) => this.#report(`${at}.${field}`, fact, subject);
    if (services.length > 0 && delegate !== undefined) report("delegate", { code: "ServicesAndDelegate" });
    if (services.length === 0 && delegate === undefined) {
      if (!this.#isFaulted(`${at}.services`) && !this.#isFaulted(`${at}.delegate`)) {
        this.#report(at, { code: "NeitherServicesNorDelegate" }, subject);
      }
    }
    if (delegate !== undefined && !delegate.name && !this.#isFaulted(`${at}.delegate.name`)) {
      report("delegate.name", { code: "DelegateNameMissing" });
    }
    if (delegate !== undefined) return;
    for (const [i, service] of services.entries()) {
      const about = service.name === undefined ? subject : serviceSubject(service.name);
      this.#service(service, `${at}.services[${i}]`, about);
    }
    const weights = services.map(({ weight }) => weight ?? 0);
    if (weights.reduce((sum, weight) => sum + Math.max(weight, 0), 0) > MAX_WEIGHT_SUM) {
      report("services", { code: "WeightSumTooLarge" });
    }
  }

  #route(route: Route, index: number, matches: Set<string>): void {
    const at = `spec.routes[${index}]`;
    const subject = routeSubject(this.#ingressRoute, index);
    const report = (field: string, fact: Fact) => this.#report(`${at}.${field}`, fact, subject);
    this.#match(route, `${at}.match`, subject, matches);
    this.#target(route.services, route.delegate, at, subject, (service) =>
      routeSubject(this.#ingressRoute, index, service),
    );
    if (route.delegate !== undefined) {
      const ignored = (
        ["prefixRewrite", "enableWebsockets", "permitInsecure", "timeoutPolicy", "retryPolicy"] as const
      ).filter((field) => route[field]);
      if (ignored.length > 0) report(ignored[0] ?? "", { code: "DelegateAttributesIgnored", fields: ignored });
      return;
    }
    const { prefixRewrite } = route;
    const fault = prefixRewrite === undefined ? undefined : (pathFault(prefixRewrite) ?? rewriteFault(prefixRewrite));
    if (fault !== undefined) report("prefixRewrite", { code: "PrefixRewriteInvalid", reason: fault });
    const timeout = compileTimeout(route.timeoutPolicy);
    this.#policy(`${at}.timeoutPolicy`, timeout.problems, subject);
    this.#policy(`${at}.retryPolicy`, compileRetry(route.retryPolicy, timeout.value).problems, subject);
  }

  #match(route: Route, at: string, subject: Subject, matches: Set<string>): void {
    if (this.#isFaulted(at)) return;
    const fault = route.match ? pathFault(route.match) : "is required";
    if (!route.match || fault !== undefined) {
      this.#report(at, { code: "MatchInvalid", reason: fault ?? "is required" }, subject);
      return;
    }
    const match = withoutTrailingSlash(route.match);
    if (matches.has(match)) this.#report(at, { code: "MatchDuplicate" }, subject);
    matches.add(match);
    const never = neverMatches(match);
    if (never !== undefined) this.#report(at, { code: "RouteNeverMatches", reason: never }, subject);
    if (match.includes("*")) {
      const reason = "* stands for itself, not for any text; a prefix already matches everything below it";
      this.#report(at, { code: "FieldIgnored", field: "match", reason }, subject);
    }
  }

  #service(service: Service, at: string, subject: Subject): void {
    if (this.#faulted.has(at)) return;
    const report = (field: string, fact: Fact) => this.#report(`${at}.${field}`, fact, subject);
    if (!service.name && !this.#isFaulted(`${at}.name`)) report("name", { code: "ServiceNameMissing" });
    const { port, weight } = service;
    if ((port === undefined || port < 1 || port > 65535) && !this.#isFaulted(`${at}.port`)) {
      report("port", { code: "PortInvalid", port });
    }
    if (weight !== undefined && weight < 0) report("weight", { code: "WeightNegative" });
    this.#policy(`${at}.strategy`, compileStrategy(service.strategy).problems, subject);
    this.#healthCheck(`${at}.healthCheck`, service.healthCheck, subject);
  }

  #healthCheck(at: string, healthCheck: HealthCheck | undefined, subject: Subject): void {
    if (healthCheck === undefined) return;
    this.#policy(at, compileHealthCheck(healthCheck).problems, subject);
  }

  #policy(at: string, problems: readonly PolicyProblem[], subject: Subject): void {
    for (const { field, fact } of problems) {
      const path = field === "" ? at : `${at}.${field}`;
      if (!this.#isFaulted(path)) this.#report(path, fact, subject);
    }
  }

  #note(code: "InvalidField" | "FieldIgnored", { at, reason }: FieldNote): void {
    const [, index, serviceIndex, field] = /^spec\.routes\[(\d+)\](?:\.services\[(\d+)\])?\.?(.*)$/s.exec(at) ?? [];
    if (index === undefined) {
      this.#report(at, { code, field: at, reason });
      return;
    }
    const service = this.#ingressRoute.routes[Number(index)]?.services[Number(serviceIndex)];
    const name = serviceIndex === undefined ? undefined : (service?.name ?? `services[${serviceIndex}]`);
    this.#report(at, { code, field: field ?? "", reason }, routeSubject(this.#ingressRoute, Number(index), name));
  }

  /** Whether the field, or something around it, could not be read: then there is nothing more to say of it. */
  #isFaulted(at: string): boolean {
    for (let path = at; path !== ""; path = path.slice(0, Math.max(path.lastIndexOf("."), 0))) {
      if (this.#faulted.has(path)) return true;
    }
    return false;
  }

  #report(at: string, fact: Fact, subject: Subject = { kind: "object" }): void {
    this.problems.push({ object: this.#key, at, subject, ...fact });
  }
}
