import type { IngressRoute } from "../api/ingress-route.ts";
import { type ObjectKey, objectKey } from "../api/object-key.ts";
import { byCodeUnit } from "../api/order.ts";
import type * as ir from "../ir/ir.ts";
import type { Unit, View } from "../store/view.ts";
import { type CheckedUse, ClusterBudget } from "./cluster-budget.ts";
import type { Effort } from "./effort.ts";
import { Findings } from "./findings.ts";
import { compileIngresses } from "./ingress/host.ts";
import { besideRoot } from "./ingress/merge.ts";
import { resolveRoot } from "./ingressroute/delegation.ts";
import { passesThrough, rootNamespaceProblem, selfProblems } from "./ingressroute/self-check.ts";
import { resolveTcpProxy } from "./ingressroute/tcp-proxy.ts";
import { oldestFirst } from "./oldest-first.ts";
import type { CompileOptions } from "./options.ts";
import type { Problem } from "./problems.ts";
import { bySpecificity, mostSpecificFirst } from "./route-order.ts";
import { compileTls } from "./tls.ts";

export type CompiledUnit = {
  /** Undefined when nothing of it is served. */
  readonly host: ir.Host | undefined;
  /** By object that was reached: its problems, by an identity of theirs. */
  readonly findings: ReadonlyMap<ObjectKey, ReadonlyMap<string, Problem>>;
  readonly checkedUses: readonly CheckedUse[];
  readonly effort: Effort;
};

/**
 * Compiles all that claims one host. It is written as if over a full snapshot: what has changed since the last time is not
 * its concern.
 */
export function compileUnit(unit: Unit, view: View, options: CompileOptions): CompiledUnit {
  const findings = new Findings();
  const effort: Effort = { steps: 0 };
  const eligible: Claim[] = [];
  for (const root of view.claims(unit)) {
    const claim = { key: objectKey("IngressRoute", root.metadata.namespace, root.metadata.name), root };
    const ineligible = rootNamespaceProblem(claim.key, root, options);
    if (ineligible === undefined) eligible.push(claim);
    else reportUnserved(claim, ineligible, findings);
  }
  eligible.sort((a, b) => oldestFirst({ key: a.key, object: a.root }, { key: b.key, object: b.root }));
  const [holder, ...others] = eligible;
  for (const claim of others) {
    if (holder === undefined) continue;
    reportUnserved(claim, heldBy(holder.key, claim), findings);
  }
  const budget = new ClusterBudget();
  const root = holder && compileRoot(holder, view, options, budget, findings, effort);
  const ingresses = compileIngresses(unit, view, options, budget, findings);
  budget.tell(findings.report.bind(findings));
  // A host that somebody holds is known, even while nothing of it is served: it is not left to wildcards.
  const isHost = !unit.includes("/") && (holder !== undefined || ingresses !== undefined);
  if (!isHost) return { host: undefined, findings: findings.byObject(), checkedUses: [], effort };
  const served = root ?? NOTHING;
  const beside = ingresses && besideRoot(unit, ingresses, served, holder?.key, findings);
  const host = {
    name: unit,
    routes: rootFirst(served.routes, beside?.routes ?? []),
    redirectsUnmatched: served.redirectsUnmatched,
    tls: served.tls ?? beside?.tls,
    tcpProxy: served.tcpProxy,
    objects: [...findings.byObject().keys()].sort(byCodeUnit),
  };
  return { host, findings: findings.byObject(), checkedUses: budget.checkedUses(), effort };
}

/** Of two routes that say as much about a path, the root's comes first, and so nobody takes from it what it has. */
function rootFirst(root: readonly ir.Route[], ingresses: readonly ir.Route[]): readonly ir.Route[] {
  const sorted = (routes: readonly ir.Route[]) => [...routes].sort(mostSpecificFirst);
  return [...sorted(root), ...sorted(ingresses)].sort(bySpecificity);
}

const NOTHING: Served = { routes: [], tls: undefined, redirectsUnmatched: false, tcpProxy: undefined };

type Served = Pick<ir.Host, "routes" | "tls" | "redirectsUnmatched" | "tcpProxy">;

/** What the root and everything it delegates to publish; undefined when the root is wrong in itself, and nothing is served. */
function compileRoot(
  { key, root }: Claim,
  view: View,
  options: CompileOptions,
  budget: ClusterBudget,
  findings: Findings,
  effort: Effort,
): Served | undefined {
  const asksForTls = root.virtualHost?.tls;
  const passthrough = passesThrough(root);
  const tls = asksForTls && !passthrough ? compileTls(root, asksForTls, view, options) : undefined;
  for (const { field, fact } of tls?.problems ?? []) {
    const at = field === "" ? "spec.virtualhost.tls" : `spec.virtualhost.tls.${field}`;
    findings.report({ object: key, at, subject: { kind: "object" }, ...fact });
  }
  const context = {
    view,
    options,
    budget,
    isSecure: tls !== undefined,
    report: findings.report.bind(findings),
    reach: findings.reach.bind(findings),
    effort,
  };
  // Fail closed: without its certificate, the host is on neither port.
  const isRefused = tls !== undefined && tls.tls === undefined;
  if (root.tcpProxy !== undefined) {
    const shares = resolveTcpProxy(key, root, isRefused, context);
    return shares && { routes: [], tls: tls?.tls, redirectsUnmatched: false, tcpProxy: { passthrough, shares } };
  }
  const routes = resolveRoot(key, root, isRefused, context);
  return routes && { routes, tls: tls?.tls, redirectsUnmatched: tls !== undefined, tcpProxy: undefined };
}

type Claim = { readonly key: ObjectKey; readonly root: IngressRoute };

function heldBy(holder: ObjectKey, { key, root }: Claim): Problem {
  const fqdn = root.virtualHost?.fqdn ?? "";
  const subject = { kind: "object" } as const;
  return { object: key, at: "spec.virtualhost.fqdn", subject, code: "FqdnHeld", fqdn, holder };
}

function reportUnserved({ key, root }: Claim, reason: Problem, findings: Findings): void {
  findings.report(reason);
  for (const problem of selfProblems(key, root)) findings.report(problem);
}
