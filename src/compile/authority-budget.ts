import { clusterIdentity } from "../ir/cluster-identity.ts";
import type * as ir from "../ir/ir.ts";
import type { Fact } from "./problems.ts";

/**
 * How many bytes of authorities the clusters of one namespace may hold below one host. Each cluster has its own copy of
 * them, and Envoy takes about four times as much for it: see ADR 0017.
 */
const MAX_AUTHORITY_BYTES = 4 * 1024 * 1024;

/** What the clusters of one host hold of authorities, in the order in which its routes are compiled. */
export class AuthorityBudget {
  readonly #admitted = new Set<string>();
  readonly #bytes = new Map<string, number>();

  /** Why there is no cluster any more for this; undefined for what is taken in, or has been before. */
  refuse(cluster: ir.Cluster): Fact | undefined {
    const { authorities } = cluster.tls?.validation ?? {};
    if (authorities === undefined) return undefined;
    const { namespace } = cluster.service;
    const identity = clusterIdentity(cluster);
    if (this.#admitted.has(identity)) return undefined;
    const bytes = (this.#bytes.get(namespace) ?? 0) + authorities.pem.length;
    if (bytes > MAX_AUTHORITY_BYTES) {
      return { code: "AuthoritiesTooLarge", namespace, bytes, maxBytes: MAX_AUTHORITY_BYTES };
    }
    this.#admitted.add(identity);
    this.#bytes.set(namespace, bytes);
    return undefined;
  }
}
