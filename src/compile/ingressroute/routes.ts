import type { HealthCheck, IngressRoute, Route, Service } from "../../api/ingress-route.ts";
import type { ObjectKey } from "../../api/object-key.ts";
import type * as ir from "../../ir/ir.ts";
import type { View } from "../../store/view.ts";
import type { CompileOptions } from "../options.ts";
import { compileHealthCheck } from "../policies/health-check.ts";
import { compileRetry } from "../policies/retry.ts";
import { compileStrategy } from "../policies/strategy.ts";
import { compileTimeout } from "../policies/timeout.ts";
import type { Problem } from "../problems.ts";
import { compileUpstream } from "../upstreams.ts";
import { withoutTrailingSlash } from "./paths.ts";
import { routeSubject } from "./self-check.ts";

export type Context = {
  readonly view: View;
  readonly options: CompileOptions;
  readonly report: (problem: Problem) => void;
  /** Told every object that a root leads to, before its problems. */
  readonly reach: (object: ObjectKey) => void;
  /** Whether the root has TLS, so that the insecure port redirects. */
  readonly isSecure: boolean;
};

/**
 * The routes of one IngressRoute that name services, in their order. Entries that are wrong in themselves are left out.
 * `healthCheck` is that of services without one of their own.
 */
export function compileServiceRoutes(
  key: ObjectKey,
  ingressRoute: IngressRoute,
  healthCheck: HealthCheck | undefined,
  context: Context,
): readonly ir.Route[] {
  return ingressRoute.routes.flatMap((route, index) => {
    if (!route.match?.startsWith("/") || route.services.length === 0) return [];
    const at = `spec.routes[${index}]`;
    const permitsInsecure = route.permitInsecure && !context.options.disablePermitInsecure;
    const compiled: ir.Route = {
      ...brokenRoute(key, route.match, at, context),
      action: serviceAction(key, ingressRoute, healthCheck, route, index, context),
    };
    return [permitsInsecure ? { ...compiled, insecure: "serve" } : compiled];
  });
}

/** A route that answers 503. */
export function brokenRoute(key: ObjectKey, match: string, at: string, { isSecure }: Context): ir.Route {
  return {
    match: { kind: "prefix", path: withoutTrailingSlash(match) },
    origin: { object: key, at },
    action: { kind: "unavailable" },
    insecure: isSecure ? "redirect" : "serve",
  };
}

function serviceAction(
  key: ObjectKey,
  ingressRoute: IngressRoute,
  healthCheck: HealthCheck | undefined,
  route: Route,
  index: number,
  { view, options, report }: Context,
): ir.Action {
  const { namespace } = ingressRoute.metadata;
  const weights = effectiveWeights(route.services.map(({ weight }) => weight));
  const shares = route.services.map((service, i): ir.Share => {
    const weight = weights[i] ?? 0;
    const { name, port } = service;
    if (!name || port === undefined || port < 1 || port > 65535) return { weight, cluster: undefined };
    const policies = clusterPolicies(service, healthCheck);
    const upstream = compileUpstream({ namespace, name, port }, policies, service.validation, view, options);
    const at = `spec.routes[${index}].services[${i}]`;
    const subject = routeSubject(ingressRoute, index, name);
    for (const fact of upstream.kind === "broken" ? [upstream.fact] : upstream.warnings) {
      report({ object: key, at, subject, ...fact });
    }
    return { weight, cluster: upstream.kind === "broken" ? undefined : upstream.cluster };
  });
  const used = shares.filter(({ weight }) => weight > 0);
  if (used.every(({ cluster }) => cluster === undefined)) return { kind: "unavailable" };
  const timeout = compileTimeout(route.timeoutPolicy).value;
  return {
    kind: "forward",
    shares: used,
    prefixRewrite: route.prefixRewrite,
    timeout,
    retry: compileRetry(route.retryPolicy, timeout).value,
    allowsWebsockets: route.enableWebsockets,
  };
}

function clusterPolicies(service: Service, byDefault: HealthCheck | undefined): ir.ClusterPolicies {
  const healthCheck = service.healthCheck ?? byDefault;
  return {
    loadBalancing: compileStrategy(service.strategy).value,
    healthCheck: healthCheck && compileHealthCheck(healthCheck).value,
  };
}

/**
 * None given: even. Some given: the others get nothing. A sum of zero would serve nobody, and Envoy refuses it, so it is
 * even too; which also gives everything to a service that is alone.
 */
export function effectiveWeights(weights: readonly (number | undefined)[]): readonly number[] {
  const given = weights.map((weight) => Math.max(weight ?? 0, 0));
  return given.every((weight) => weight === 0) ? given.map(() => 1) : given;
}
