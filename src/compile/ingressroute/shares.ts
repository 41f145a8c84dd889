import { compact } from "../../api/compact.ts";
import type { HealthCheck, Service } from "../../api/ingress-route.ts";
import type { ObjectKey } from "../../api/object-key.ts";
import type * as ir from "../../ir/ir.ts";
import { compileHealthCheck } from "../policies/health-check.ts";
import { compileStrategy } from "../policies/strategy.ts";
import type { Subject } from "../problems.ts";
import { compileUpstream } from "../upstreams.ts";
import type { Context } from "./routes.ts";

/** A list of services, wherever it stands in an IngressRoute. */
export type ServiceList = {
  readonly key: ObjectKey;
  readonly namespace: string;
  readonly services: readonly Service[];
  /** Path of the list. */
  readonly at: string;
  readonly subject: (service: string) => Subject;
  /** For services without one of their own. */
  readonly healthCheck: HealthCheck | undefined;
};

/** The shares of traffic that some service is to get, those of services that cannot be used included. */
export function compileShares(list: ServiceList, { view, options, budget, report }: Context): readonly ir.Share[] {
  const weights = effectiveWeights(list.services.map(({ weight }) => weight));
  const shares = list.services.map((service, i): ir.Share => {
    const weight = weights[i] ?? 0;
    const { name, port } = service;
    if (!name || port === undefined || port < 1 || port > 65535) return { weight, cluster: undefined };
    const reference = { namespace: list.namespace, name, port };
    const policies = clusterPolicies(service, list.healthCheck);
    const upstream = compileUpstream(reference, policies, service.validation, view, options);
    const about = { object: list.key, at: `${list.at}[${i}]` };
    if (upstream.kind === "broken") {
      report({ ...about, subject: list.subject(name), ...upstream.fact });
      return { weight, cluster: undefined };
    }
    for (const fact of upstream.warnings) report({ ...about, subject: { kind: "service", service: name }, ...fact });
    const use = { ...about, subject: list.subject(name) };
    const isAdmitted = weight > 0 && budget.admit(upstream.cluster, use, report);
    return { weight, cluster: isAdmitted ? upstream.cluster : undefined };
  });
  return compact(shares.filter(({ weight }) => weight > 0));
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
function effectiveWeights(weights: readonly (number | undefined)[]): readonly number[] {
  const given = weights.map((weight) => Math.max(weight ?? 0, 0));
  return given.every((weight) => weight === 0) ? given.map(() => 1) : given;
}
