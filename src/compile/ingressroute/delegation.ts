import type { HealthCheck, IngressRoute } from "../../api/ingress-route.ts";
import { type ObjectKey, objectKey } from "../../api/object-key.ts";
import type * as ir from "../../ir/ir.ts";
import { classOf, type Problem } from "../problems.ts";
import { isInside, withoutTrailingSlash } from "./paths.ts";
import { brokenRoute, type Context, compileServiceRoutes } from "./routes.ts";
import { routeSubject, selfProblems } from "./self-check.ts";
import { Zone } from "./zone.ts";

/**
 * What a root and everything it delegates to publish, or undefined when the root is wrong in itself. Reports to
 * `context` for every object on the way.
 *
 * Written without recursion, because delegation may be as deep as there are objects; an object is resolved once for each
 * prefix and health check that it is reached with, because the ways to reach it can double with each level.
 */
export function resolveRoot(
  key: ObjectKey,
  root: IngressRoute,
  /** Whether the root is known to be invalid already; it is looked at all the same, to report all that is wrong with it. */
  isRefused: boolean,
  context: Context,
): readonly ir.Route[] | undefined {
  /** By {@link zoneId}: what an object publishes there; undefined when it is invalid there. */
  const zones = new Map<string, Zone | undefined>();
  const chain = new Set<ObjectKey>();
  const visits: Visit[] = [];
  const shadowed: Shadowed[] = [];

  const enter = (candidate: Candidate): void => {
    // At this place: the same object may be in order below another parent.
    let isInvalid = candidate.parent === undefined && isRefused;
    const report = (problem: Problem): void => {
      if (classOf(problem) === "A") isInvalid = true;
      context.report(problem);
    };
    const delegations = checkObject(candidate, chain, { ...context, report });
    const { ingressRoute, healthCheck } = candidate;
    const serviceRoutes = compileServiceRoutes(candidate.key, ingressRoute, healthCheck, { ...context, report });
    if (isInvalid) {
      zones.set(zoneId(candidate), undefined);
      return;
    }
    chain.add(candidate.key);
    visits.push({ ...candidate, delegations, serviceRoutes, next: 0 });
  };

  const start = { key, ingressRoute: root, prefix: "/", parent: undefined, healthCheck: root.healthCheck };
  enter(start);
  for (let visit = visits.at(-1); visit !== undefined; visit = visits.at(-1)) {
    const delegation = visit.delegations[visit.next++];
    if (delegation === undefined) {
      visits.pop();
      chain.delete(visit.key);
      zones.set(zoneId(visit), buildZone(visit, zones, shadowed, context));
      continue;
    }
    const candidate = delegatedBy(visit, delegation);
    if (candidate !== undefined && !zones.has(zoneId(candidate))) enter(candidate);
  }
  const routes = zones.get(zoneId(start))?.routes();
  reportShadowed(shadowed, routes ?? [], context);
  return routes;
}

/** A route that had to give way at one place; it may still serve by another way down to its object. */
type Shadowed = { readonly route: ir.Route; readonly fact: ShadowFact };
type ShadowFact =
  | { readonly code: "ShadowedBySibling"; readonly parent: ObjectKey; readonly prefix: string }
  | { readonly code: "ShadowedByParent"; readonly parent: ObjectKey };

type Candidate = {
  readonly key: ObjectKey;
  readonly ingressRoute: IngressRoute;
  /** The prefix it was delegated; `/` for a root. */
  readonly prefix: string;
  readonly parent: ObjectKey | undefined;
  /** For services without one of their own: the object's, or in its absence its parent's. */
  readonly healthCheck: HealthCheck | undefined;
};

/** A route that delegates. `delegate` is undefined when the target is missing or may not be delegated to. */
type Delegation = {
  readonly prefix: string;
  readonly at: string;
  readonly index: number;
  readonly target: ObjectKey;
  readonly delegate: IngressRoute | undefined;
};

type Visit = Candidate & {
  readonly delegations: readonly Delegation[];
  readonly serviceRoutes: readonly ir.Route[];
  /** The delegation to look at next. */
  next: number;
};

/** What the object delegates. Reports all that is the matter with it at this place. */
function checkObject(
  { key, ingressRoute, prefix, parent }: Candidate,
  chain: ReadonlySet<ObjectKey>,
  { view, report, reach }: Context,
): readonly Delegation[] {
  reach(key);
  for (const problem of selfProblems(key, ingressRoute)) report(problem);

  const delegations: Delegation[] = [];
  for (const [index, { match, delegate }] of ingressRoute.routes.entries()) {
    if (!match?.startsWith("/")) continue;
    const at = `spec.routes[${index}]`;
    const subject = routeSubject(ingressRoute, index);
    if (parent !== undefined && !isInside(withoutTrailingSlash(match), prefix)) {
      report({ object: key, at: `${at}.match`, subject, code: "OutsidePrefix", prefix, parent });
    }
    if (!delegate?.name) continue;
    const namespace = delegate.namespace ?? ingressRoute.metadata.namespace;
    const target = objectKey("IngressRoute", namespace, delegate.name);
    if (target === key || chain.has(target)) {
      const cycle = cycleThrough(target, key, chain);
      report({ object: key, at: `${at}.delegate`, subject, code: "DelegationCycle", ...cycle });
      continue;
    }
    const found = view.ingressRoute(namespace, delegate.name);
    if (found === undefined) {
      report({ object: key, at: `${at}.delegate`, subject, code: "DelegateMissing", delegate: target });
    } else if (found.virtualHost !== undefined) {
      report({ object: key, at: `${at}.delegate`, subject, code: "DelegateIsRoot", delegate: target });
    }
    const usableDelegate = found?.virtualHost === undefined ? found : undefined;
    delegations.push({ prefix: withoutTrailingSlash(match), at, index, target, delegate: usableDelegate });
  }
  return delegations;
}

/** How many steps of a cycle are told: its two ends, if it is longer. */
const MAX_STEPS = 16;

/** The way from `target` along the chain to the object that leads back to it. */
function cycleThrough(
  target: ObjectKey,
  closing: ObjectKey,
  chain: ReadonlySet<ObjectKey>,
): { readonly path: readonly ObjectKey[]; readonly omitted: number } {
  if (target === closing) return { path: [closing, target], omitted: 0 };
  const ancestors = [...chain];
  const steps = [...ancestors.slice(ancestors.indexOf(target)), closing, target];
  const omitted = Math.max(0, steps.length - MAX_STEPS);
  if (omitted === 0) return { path: steps, omitted };
  return { path: [...steps.slice(0, MAX_STEPS / 2), ...steps.slice(-MAX_STEPS / 2)], omitted };
}

function buildZone(
  visit: Visit,
  zones: ReadonlyMap<string, Zone | undefined>,
  shadowed: Shadowed[],
  context: Context,
): Zone {
  const zone = new Zone();
  // The longest delegated prefix owns its subtree, so it is put in after those that hold it.
  for (const delegation of [...visit.delegations].sort((a, b) => a.prefix.length - b.prefix.length)) {
    const { prefix, at, index, target, delegate } = delegation;
    const candidate = delegatedBy(visit, delegation);
    const delegated = candidate && zones.get(zoneId(candidate));
    if (delegate !== undefined && delegated === undefined) {
      const subject = routeSubject(visit.ingressRoute, index);
      context.report({ object: visit.key, at: `${at}.delegate`, subject, code: "DelegateInvalid", delegate: target });
    }
    for (const route of zone.graft(prefix, delegated ?? zoneOf(brokenRoute(visit.key, prefix, at, context)))) {
      shadowed.push({ route, fact: { code: "ShadowedBySibling", parent: visit.key, prefix } });
    }
  }
  for (const route of visit.serviceRoutes) {
    const replaced = zone.set(route);
    if (replaced !== undefined) {
      shadowed.push({ route: replaced, fact: { code: "ShadowedByParent", parent: visit.key } });
    }
  }
  return zone;
}

function zoneOf(route: ir.Route): Zone {
  const zone = new Zone();
  zone.set(route);
  return zone;
}

function reportShadowed(shadowed: readonly Shadowed[], routes: readonly ir.Route[], { report }: Context): void {
  const serving = new Set(routes.map(routeId));
  for (const { route, fact } of shadowed) {
    if (serving.has(routeId(route))) continue;
    const { origin, match } = route;
    const subject = { kind: "route", match: match.path } as const;
    report({ object: origin.object as ObjectKey, at: `${origin.at}.match`, subject, ...fact });
  }
}

/** A route stands at one field of one object, and its match in the host is the match it was written with. */
function routeId({ origin }: ir.Route): string {
  return `${origin.object} ${origin.at}`;
}

function delegatedBy(parent: Candidate, { target, prefix, delegate }: Delegation): Candidate | undefined {
  if (delegate === undefined) return undefined;
  const healthCheck = delegate.healthCheck ?? parent.healthCheck;
  return { key: target, ingressRoute: delegate, prefix, parent: parent.key, healthCheck };
}

function zoneId({ key, prefix, healthCheck }: Candidate): string {
  return `${key} ${prefix} ${JSON.stringify(healthCheck)}`;
}
