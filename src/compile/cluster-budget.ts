import type { ObjectKey } from "../api/object-key.ts";
import { clusterIdentity } from "../ir/cluster-identity.ts";
import type * as ir from "../ir/ir.ts";
import type { Problem, Subject } from "./problems.ts";

/** How many different clusters one namespace may have below one host, and one Ingress over all of its hosts: see ADR 0017. */
export const MAX_CLUSTERS = 1000;

/**
 * How many bytes of authorities the clusters of one namespace may hold below one host. Each cluster has its own copy of
 * them, and Envoy takes about four times as much for it: see ADR 0017.
 */
const MAX_AUTHORITY_BYTES = 4 * 1024 * 1024;

/** The place that asks for a cluster. */
export type Use = { readonly object: ObjectKey; readonly at: string; readonly subject: Subject };

/** The first place of an object that asks for the endpoints of this port to be health-checked. */
export type CheckedUse = { readonly port: ir.ServicePort; readonly use: Use };

/** What the clusters of one host take, in the order in which its routes are compiled. */
export class ClusterBudget {
  readonly #namespaces = new Map<string, Spent>();
  /** By object: where it first asks for more clusters than there may be. */
  readonly #tooMany = new Map<ObjectKey, Use & { readonly spent: Spent }>();
  /** By object and port. */
  readonly #checked = new Map<string, CheckedUse>();

  /** Whether there may be the cluster: always for one that has been taken in before. Tells why not, now or by {@link tell}. */
  admit(cluster: ir.Cluster, use: Use, report: (problem: Problem) => void): boolean {
    const isAdmitted = this.#admit(cluster, use, report);
    if (isAdmitted && cluster.healthCheck !== undefined) this.#noteCheck(cluster, use);
    return isAdmitted;
  }

  /** What is health-checked, by whom: how many endpoints that are is not known to who compiles. */
  checkedUses(): readonly CheckedUse[] {
    return [...this.#checked.values()];
  }

  #noteCheck({ service: { namespace, name }, endpoints }: ir.Cluster, { object, at, subject }: Use): void {
    if (endpoints.kind !== "slices") return;
    const id = `${object} ${name} ${endpoints.portName}`;
    if (this.#checked.has(id)) return;
    const port = { namespace, service: name, portName: endpoints.portName };
    this.#checked.set(id, { port, use: { object, at, subject } });
  }

  #admit(cluster: ir.Cluster, use: Use, report: (problem: Problem) => void): boolean {
    const { namespace } = cluster.service;
    const spent = this.#namespaces.get(namespace) ?? newSpent(namespace);
    this.#namespaces.set(namespace, spent);
    const identity = clusterIdentity(cluster);
    if (spent.admitted.has(identity)) return true;
    if (spent.admitted.size >= MAX_CLUSTERS) {
      spent.beyond.add(identity);
      if (!this.#tooMany.has(use.object)) this.#tooMany.set(use.object, { ...use, spent });
      return false;
    }
    const bytes = spent.authorityBytes + (cluster.tls?.validation?.authorities.pem.length ?? 0);
    if (bytes > MAX_AUTHORITY_BYTES) {
      report({ ...use, code: "AuthoritiesTooLarge", namespace, bytes, maxBytes: MAX_AUTHORITY_BYTES });
      return false;
    }
    spent.authorityBytes = bytes;
    spent.admitted.add(identity);
    return true;
  }

  /** What is told once for each object, when all of the host has been compiled and it is known how many there are. */
  tell(report: (problem: Problem) => void): void {
    for (const { spent, ...use } of this.#tooMany.values()) {
      const { namespace, admitted, beyond } = spent;
      const count = admitted.size + beyond.size;
      report({ ...use, code: "TooManyUpstreams", scope: "host", namespace, count, max: MAX_CLUSTERS });
    }
  }
}

/** By {@link clusterIdentity}. */
type Spent = {
  readonly namespace: string;
  readonly admitted: Set<string>;
  readonly beyond: Set<string>;
  authorityBytes: number;
};

function newSpent(namespace: string): Spent {
  return { namespace, admitted: new Set(), beyond: new Set(), authorityBytes: 0 };
}
