import type { HealthCheck, IngressRoute, Route } from "../../api/ingress-route.ts";
import type { ObjectKey } from "../../api/object-key.ts";
import type * as ir from "../../ir/ir.ts";
import type { View } from "../../store/view.ts";
import type { ClusterBudget } from "../cluster-budget.ts";
import type { Effort } from "../effort.ts";
import type { CompileOptions } from "../options.ts";
import { compileRetry } from "../policies/retry.ts";
import { compileTimeout } from "../policies/timeout.ts";
import type { Problem } from "../problems.ts";
import { withoutTrailingSlash } from "./paths.ts";
import { routeSubject } from "./self-check.ts";
import { compileShares } from "./shares.ts";

export type Context = {
  readonly view: View;
  readonly options: CompileOptions;
  readonly budget: ClusterBudget;
  readonly report: (problem: Problem) => void;
  /** Told every object that a root leads to, before its problems. */
  readonly reach: (object: ObjectKey) => void;
  /** Whether the root has TLS, so that the insecure port redirects. */
  readonly isSecure: boolean;
  readonly effort: Effort;
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
    secure: isSecure ? "serve" : "absent",
  };
}

function serviceAction(
  key: ObjectKey,
  ingressRoute: IngressRoute,
  healthCheck: HealthCheck | undefined,
  route: Route,
  index: number,
  context: Context,
): ir.Action {
  const shares = compileShares(
    {
      key,
      namespace: ingressRoute.metadata.namespace,
      services: route.services,
      at: `spec.routes[${index}].services`,
      subject: (service) => routeSubject(ingressRoute, index, service),
      healthCheck,
    },
    context,
  );
  if (shares.every(({ cluster }) => cluster === undefined)) return { kind: "unavailable" };
  const timeout = compileTimeout(route.timeoutPolicy).value;
  return {
    kind: "forward",
    shares,
    prefixRewrite: route.prefixRewrite,
    timeout,
    retry: compileRetry(route.retryPolicy, timeout).value,
    allowsWebsockets: route.enableWebsockets,
  };
}
