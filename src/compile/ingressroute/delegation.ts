import type { HealthCheck, IngressRoute } from "../../api/ingress-route.ts";
import { type ObjectKey, objectKey } from "../../api/object-key.ts";
import type * as ir from "../../ir/ir.ts";
import type { Fact } from "../problems.ts";
import { Chain } from "./cycle.ts";
import { Extent } from "./extent.ts";
import { Inheritance } from "./inheritance.ts";
import { withoutTrailingSlash } from "./paths.ts";
import { reportSelf } from "./report-self.ts";
import { brokenRoute, type Context, compileServiceRoutes } from "./routes.ts";
import { routeSubject } from "./self-check.ts";
import { routesOf, Segments, Zone, type ZoneNode } from "./zone.ts";

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
  const chain = new Chain();
  const visits: Visit[] = [];
  const shadowed: Shadowed[] = [];
  const segments = new Segments(context.effort);
  const inheritance = new Inheritance();

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
    chain.push(candidate.key);
    visits.push({ ...candidate, delegations, serviceRoutes, delegates: new Map(), next: 0 });
  };

  const start = { key, ingressRoute: root, healthCheck: root.healthCheck, checkId: inheritance.idOf(root.healthCheck) };
  if (isRefused) look(start);
  else enter(start);
  for (let visit = visits.at(-1); visit !== undefined; visit = visits.at(-1)) {
    const delegation = visit.delegations[visit.next++];
    if (delegation === undefined) {
      visits.pop();
      chain.pop();
      zones.set(zoneId(visit), buildZone(visit, zones, shadowed, segments, context));
      continue;
    }
    const candidate = delegatedBy(visit, delegation, inheritance, context);
    if (candidate === undefined || !fitsInto(delegation.prefix, visit.key, candidate, look(candidate), context))
      continue;
    visit.delegates.set(delegation, candidate);
    if (!zones.has(zoneId(candidate))) enter(candidate);
  }
  const routes = zones.get(zoneId(start))?.routes();
  reportShadowed(shadowed, routes ?? [], context);
  return routes;
}

/** Routes that had to give way at one place; they may still serve by another way down to their objects. */
type Shadowed = { readonly routes: ZoneNode; readonly fact: ShadowFact };
type ShadowFact =
  | Omit<Extract<Fact, { code: "ShadowedBySibling" }>, "others">
  | Omit<Extract<Fact, { code: "ShadowedByParent" }>, "others">;

type Candidate = {
  readonly key: ObjectKey;
  readonly ingressRoute: IngressRoute;
  /** For services without one of their own: the object's, or in its absence its parent's. */
  readonly healthCheck: HealthCheck | undefined;
  readonly checkId: number;
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
type Looked = {
  readonly isInvalid: boolean;
  readonly serviceRoutes: readonly ir.Route[];
  readonly extent: Extent;
};

type Visit = Candidate & {
  readonly delegations: readonly Delegation[];
  readonly serviceRoutes: readonly ir.Route[];
  /** What was found at delegations, if it keeps to the prefix. */
  readonly delegates: Map<Delegation, Candidate>;
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
  context.effort.steps += ingressRoute.routes.length;
  return { isInvalid: isInvalid(), serviceRoutes, extent: new Extent(ingressRoute.routes) };
}

/**
 * Whether every route of the object lies inside the prefix that the parent delegates to it. However many do not, that is one
 * problem: anybody may delegate anything to any object, as often as there are routes.
 */
function fitsInto(
  prefix: string,
  parent: ObjectKey,
  { key, ingressRoute }: Candidate,
  { extent }: Looked,
  { report, effort }: Context,
): boolean {
  effort.steps++;
  const outside = extent.outside(prefix);
  if (outside === undefined) return true;
  const { index, others } = outside;
  const subject = routeSubject(ingressRoute, index);
  report({ object: key, at: `spec.routes[${index}].match`, subject, code: "OutsidePrefix", prefix, parent, others });
  return false;
}

function findDelegations(
  { key, ingressRoute }: Candidate,
  chain: Chain,
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
      const cycle = chain.cycleThrough(target, key);
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
  segments: Segments,
  context: Context,
): Zone {
  const zone = new Zone(segments);
  // The longest delegated prefix owns its subtree, so it is put in after those that hold it.
  for (const delegation of [...visit.delegations].sort((a, b) => a.prefix.length - b.prefix.length)) {
    const { prefix, at, index, target, delegate } = delegation;
    const candidate = visit.delegates.get(delegation);
    const delegated = candidate && zones.get(zoneId(candidate));
    if (delegate !== undefined && delegated === undefined) {
      const subject = routeSubject(visit.ingressRoute, index);
      context.report({ object: visit.key, at: `${at}.delegate`, subject, code: "DelegateInvalid", delegate: target });
    }
    const grafted = delegated ?? zoneOf(brokenRoute(visit.key, prefix, at, context), segments);
    const routes = zone.graft(prefix, grafted);
    if (routes) shadowed.push({ routes, fact: { code: "ShadowedBySibling", parent: visit.key, prefix } });
  }
  for (const route of visit.serviceRoutes) {
    const replaced = zone.set(route);
    if (replaced === undefined) continue;
    const routes = { route: replaced, children: undefined };
    shadowed.push({ routes, fact: { code: "ShadowedByParent", parent: visit.key } });
  }
  return zone;
}

function zoneOf(route: ir.Route, segments: Segments): Zone {
  const zone = new Zone(segments);
  zone.set(route);
  return zone;
}

/** How many routes of one object are told of having to give way to one delegation; the others are counted. */
const MAX_SHADOWED = 10;

/**
 * Each route is told once, by the first that it had to give way to: with prefixes that lie inside one another there can be as
 * many as there are delegations.
 */
function reportShadowed(
  shadowed: readonly Shadowed[],
  serving: readonly ir.Route[],
  { report, effort }: Context,
): void {
  const known = new Set(serving.map(routeId));
  const seen = new Set<object>();
  for (const { routes, fact } of shadowed) {
    const byObject = new Map<string, ir.Route[]>();
    for (const route of routesOf(routes, seen, effort)) {
      if (known.has(routeId(route))) continue;
      known.add(routeId(route));
      const told = byObject.get(route.origin.object) ?? [];
      if (told.length === 0) byObject.set(route.origin.object, told);
      told.push(route);
    }
    for (const [object, told] of byObject) {
      told.sort((a, b) => routeIndex(a) - routeIndex(b));
      for (const [i, { origin, match }] of told.slice(0, MAX_SHADOWED).entries()) {
        const subject = { kind: "route", match: match.path } as const;
        const others = i === MAX_SHADOWED - 1 ? told.length - MAX_SHADOWED : 0;
        report({ object: object as ObjectKey, at: `${origin.at}.match`, subject, ...fact, others });
      }
    }
  }
}

function routeIndex({ origin }: ir.Route): number {
  return Number(/\d+/.exec(origin.at)?.[0]);
}

/** A route stands at one field of one object, and its match in the host is the match it was written with. */
function routeId({ origin }: ir.Route): string {
  return `${origin.object} ${origin.at}`;
}

function delegatedBy(
  parent: Visit,
  { target, delegate, at, index }: Delegation,
  inheritance: Inheritance,
  { report }: Context,
): Candidate | undefined {
  if (delegate === undefined) return undefined;
  const candidate = { key: target, ingressRoute: delegate };
  const { healthCheck } = delegate;
  if (healthCheck !== undefined) return { ...candidate, healthCheck, checkId: inheritance.idOf(healthCheck) };
  if (inheritance.admits(target, parent.checkId)) {
    return { ...candidate, healthCheck: parent.healthCheck, checkId: parent.checkId };
  }
  const subject = routeSubject(parent.ingressRoute, index);
  report({ object: parent.key, at: `${at}.delegate`, subject, code: "HealthCheckNotInherited", delegate: target });
  return { ...candidate, healthCheck: undefined, checkId: inheritance.idOf(undefined) };
}

function zoneId({ key, checkId }: Candidate): string {
  return `${key} ${checkId}`;
}
