import type { HealthCheck, IngressRoute } from "../../api/ingress-route.ts";
import { type ObjectKey, objectKey } from "../../api/object-key.ts";
import type * as ir from "../../ir/ir.ts";
import { cycleThrough } from "./cycle.ts";
import { isInside, withoutTrailingSlash } from "./paths.ts";
import { reportSelf } from "./report-self.ts";
import { brokenRoute, type Context, compileServiceRoutes } from "./routes.ts";
import { routeSubject } from "./self-check.ts";
import { Zone } from "./zone.ts";

/**
 * What a root and everything it delegates to publish, or undefined when the root is wrong in itself. Reports to
 * `context` for every object on the way.
 *
 * Written without recursion, because delegation may be as deep as there are objects. The ways to reach an object can double
 * with each level, so it is resolved once, whatever prefixes lead to it: what it publishes is the same below each of them,
 * and all that a prefix decides is whether the object fits in.
 */
export function resolveRoot(
  key: ObjectKey,
  root: IngressRoute,
  /** Whether the root is known to be invalid already; it is looked at all the same, to report all that is wrong with it. */
  isRefused: boolean,
  context: Context,
): readonly ir.Route[] | undefined {
  /** By {@link zoneId}: what an object publishes; undefined when it is invalid. */
  const zones = new Map<string, Zone | undefined>();
  const looked = new Map<string, Looked>();
  const chain = new Set<ObjectKey>();
  const visits: Visit[] = [];
  const shadowed: Shadowed[] = [];

  const look = (candidate: Candidate): Looked => {
    const known = looked.get(zoneId(candidate)) ?? lookAt(candidate, context);
    looked.set(zoneId(candidate), known);
    return known;
  };
  const enter = (candidate: Candidate): void => {
    const { isInvalid, serviceRoutes } = look(candidate);
    const { delegations, closesCycle } = findDelegations(candidate, chain, context);
    if (isInvalid || closesCycle) {
      zones.set(zoneId(candidate), undefined);
      return;
    }
    chain.add(candidate.key);
    visits.push({ ...candidate, delegations, serviceRoutes, misfits: new Set(), next: 0 });
  };

  const start = { key, ingressRoute: root, healthCheck: root.healthCheck };
  if (isRefused) look(start);
  else enter(start);
  for (let visit = visits.at(-1); visit !== undefined; visit = visits.at(-1)) {
    const delegation = visit.delegations[visit.next++];
    if (delegation === undefined) {
      visits.pop();
      chain.delete(visit.key);
      zones.set(zoneId(visit), buildZone(visit, zones, shadowed, context));
      continue;
    }
    const candidate = delegatedBy(visit, delegation);
    if (candidate === undefined) continue;
    look(candidate);
    if (!fitsInto(delegation.prefix, visit.key, candidate, context)) visit.misfits.add(delegation);
    else if (!zones.has(zoneId(candidate))) enter(candidate);
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

/** What an object is by itself, wherever it hangs. */
type Looked = { readonly isInvalid: boolean; readonly serviceRoutes: readonly ir.Route[] };

type Visit = Candidate & {
  readonly delegations: readonly Delegation[];
  readonly serviceRoutes: readonly ir.Route[];
  /** Delegations whose delegate does not keep to the prefix. */
  readonly misfits: Set<Delegation>;
  /** The delegation to look at next. */
  next: number;
};

function lookAt({ key, ingressRoute, healthCheck }: Candidate, context: Context): Looked {
  const { report, isInvalid } = reportSelf(key, ingressRoute, context);
  // With a tcpproxy of its own it needs none by itself, but here a route leads to it.
  if (ingressRoute.tcpProxy !== undefined && ingressRoute.routes.length === 0) {
    report({ object: key, at: "spec.routes", subject: { kind: "object" }, code: "RoutesMissing" });
  }
  const serviceRoutes = compileServiceRoutes(key, ingressRoute, healthCheck, { ...context, report });
  return { isInvalid: isInvalid(), serviceRoutes };
}

/** Whether every route of the object lies inside the prefix that the parent delegates to it. */
function fitsInto(prefix: string, parent: ObjectKey, { key, ingressRoute }: Candidate, { report }: Context): boolean {
  let fits = true;
  for (const [index, { match }] of ingressRoute.routes.entries()) {
    if (!match?.startsWith("/") || isInside(withoutTrailingSlash(match), prefix)) continue;
    fits = false;
    const subject = routeSubject(ingressRoute, index);
    report({ object: key, at: `spec.routes[${index}].match`, subject, code: "OutsidePrefix", prefix, parent });
  }
  return fits;
}

function findDelegations(
  { key, ingressRoute }: Candidate,
  chain: ReadonlySet<ObjectKey>,
  { view, report }: Context,
): { readonly delegations: readonly Delegation[]; readonly closesCycle: boolean } {
  const delegations: Delegation[] = [];
  let closesCycle = false;
  for (const [index, { match, delegate }] of ingressRoute.routes.entries()) {
    if (!match?.startsWith("/") || !delegate?.name) continue;
    const at = `spec.routes[${index}]`;
    const subject = routeSubject(ingressRoute, index);
    const namespace = delegate.namespace ?? ingressRoute.metadata.namespace;
    const target = objectKey("IngressRoute", namespace, delegate.name);
    if (target === key || chain.has(target)) {
      const cycle = cycleThrough(target, key, chain);
      report({ object: key, at: `${at}.delegate`, subject, code: "DelegationCycle", ...cycle });
      closesCycle = true;
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
  return { delegations, closesCycle };
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
    const candidate = visit.misfits.has(delegation) ? undefined : delegatedBy(visit, delegation);
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

function delegatedBy(parent: Candidate, { target, delegate }: Delegation): Candidate | undefined {
  if (delegate === undefined) return undefined;
  return { key: target, ingressRoute: delegate, healthCheck: delegate.healthCheck ?? parent.healthCheck };
}

function zoneId({ key, healthCheck }: Candidate): string {
  return `${key} ${JSON.stringify(healthCheck)}`;
}
