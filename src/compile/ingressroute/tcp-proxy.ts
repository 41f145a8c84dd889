import type { HealthCheck, IngressRoute } from "../../api/ingress-route.ts";
import { type ObjectKey, objectKey } from "../../api/object-key.ts";
import type * as ir from "../../ir/ir.ts";
import type { Subject } from "../problems.ts";
import { Chain } from "./cycle.ts";
import { reportSelf } from "./report-self.ts";
import type { Context } from "./routes.ts";
import { compileShares } from "./shares.ts";

const SUBJECT: Subject = { kind: "tcpproxy" };

/**
 * Where the connections of a root with `tcpproxy` go, down the chain of delegations; undefined when the root is wrong in
 * itself. No shares: nobody can take them, and they are closed.
 */
export function resolveTcpProxy(
  key: ObjectKey,
  root: IngressRoute,
  /** Whether the root is known to be invalid already; it is looked at all the same, to report all that is wrong with it. */
  isRefused: boolean,
  context: Context,
): readonly ir.Share[] | undefined {
  const chain = new Chain();
  let parent: ObjectKey | undefined;
  let holder: Holder = { key, ingressRoute: root, healthCheck: root.healthCheck };
  for (;;) {
    const { isInvalid, shares } = lookAt(holder, context);
    const next = findDelegate(holder, chain, context);
    if (isInvalid || next === "cycle" || (parent === undefined && isRefused)) {
      if (parent === undefined) return undefined;
      const about = { object: parent, at: "spec.tcpproxy.delegate", subject: SUBJECT };
      context.report({ ...about, code: "DelegateInvalid", delegate: holder.key });
      return [];
    }
    if (next === undefined) return shares;
    if (next === "nobody") return [];
    parent = holder.key;
    chain.push(parent);
    holder = next;
  }
}

type Holder = {
  readonly key: ObjectKey;
  readonly ingressRoute: IngressRoute;
  readonly healthCheck: HealthCheck | undefined;
};

function lookAt(
  { key, ingressRoute, healthCheck }: Holder,
  context: Context,
): { readonly isInvalid: boolean; readonly shares: readonly ir.Share[] } {
  const { report, isInvalid } = reportSelf(key, ingressRoute, context);
  if (ingressRoute.tcpProxy === undefined) {
    report({ object: key, at: "spec.tcpproxy", subject: { kind: "object" }, code: "TcpProxyMissing" });
    return { isInvalid: true, shares: [] };
  }
  const { namespace } = ingressRoute.metadata;
  const shares = compileShares(
    {
      key,
      namespace,
      services: ingressRoute.tcpProxy.services,
      at: "spec.tcpproxy.services",
      subject: (service) => ({ ...SUBJECT, service }),
      healthCheck,
    },
    { ...context, report },
  );
  if (shares.every(({ cluster }) => cluster === undefined)) return { isInvalid: isInvalid(), shares: [] };
  return { isInvalid: isInvalid(), shares: shares.map(withoutAlpn) };
}

/** What the client speaks is between it and the backend. */
function withoutAlpn(share: ir.Share): ir.Share {
  const { cluster } = share;
  if (cluster?.tls === undefined) return share;
  return { ...share, cluster: { ...cluster, tls: { ...cluster.tls, alpn: undefined } } };
}

/** Undefined: the object does not delegate. "nobody": what it delegates to is not there. */
function findDelegate(
  { key, ingressRoute, healthCheck }: Holder,
  chain: Chain,
  { view, report }: Context,
): Holder | "cycle" | "nobody" | undefined {
  const { name, namespace = ingressRoute.metadata.namespace } = ingressRoute.tcpProxy?.delegate ?? {};
  if (!name) return undefined;
  const target = objectKey("IngressRoute", namespace, name);
  const about = { object: key, at: "spec.tcpproxy.delegate", subject: SUBJECT };
  if (target === key || chain.has(target)) {
    report({ ...about, code: "DelegationCycle", ...chain.cycleThrough(target, key) });
    return "cycle";
  }
  const found = view.ingressRoute(namespace, name);
  if (found === undefined) {
    report({ ...about, code: "DelegateMissing", delegate: target });
    return "nobody";
  }
  if (found.virtualHost !== undefined) {
    report({ ...about, code: "DelegateIsRoot", delegate: target });
    return "nobody";
  }
  return { key: target, ingressRoute: found, healthCheck: found.healthCheck ?? healthCheck };
}
