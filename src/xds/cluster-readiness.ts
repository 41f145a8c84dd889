import type { Cache } from "./cache.ts";
import { GONE, type Ledger } from "./ledger.ts";

/**
 * Which clusters one Envoy can route to. Envoy delays the ACK of its clusters while any of them is warming, so an EDS
 * cluster is known to be ready by the ACK of its load assignment. Others, and those that have to wait for the first answers
 * to their health checks, show it by nothing but their own ACK.
 */
export class ClusterReadiness {
  readonly #cache: Cache;
  readonly #clusters: Ledger;
  readonly #assignments: Ledger;
  /** Load assignment of each EDS cluster sent, and the other way round: several clusters can share one. */
  readonly #assignmentOf = new Map<string, string>();
  readonly #clustersOf = new Map<string, Set<string>>();

  constructor(cache: Cache, clusters: Ledger, assignments: Ledger) {
    this.#cache = cache;
    this.#clusters = clusters;
    this.#assignments = assignments;
  }

  /** Envoy has been sent this cluster, or held it before the stream. */
  set(cluster: string, assignment: string | undefined): void {
    if (this.#assignmentOf.get(cluster) === assignment) return;
    this.remove(cluster);
    if (assignment === undefined) return;
    this.#assignmentOf.set(cluster, assignment);
    const clusters = this.#clustersOf.get(assignment);
    if (clusters === undefined) this.#clustersOf.set(assignment, new Set([cluster]));
    else clusters.add(cluster);
  }

  remove(cluster: string): void {
    const assignment = this.#assignmentOf.get(cluster);
    if (assignment === undefined) return;
    this.#assignmentOf.delete(cluster);
    const clusters = this.#clustersOf.get(assignment);
    clusters?.delete(cluster);
    if (clusters?.size !== 0) return;
    this.#clustersOf.delete(assignment);
    // Pushed for this cluster and never asked for: nobody will unsubscribe from it. Before Envoy's first question it
    // is not known yet what a reconnecting Envoy asks for.
    const { requested, items } = this.#assignments;
    if (requested && items.get(assignment)?.subscribed === false) this.#assignments.forget(assignment);
  }

  clear(): void {
    this.#assignmentOf.clear();
    this.#clustersOf.clear();
  }

  assignmentOf(cluster: string): string | undefined {
    return this.#assignmentOf.get(cluster);
  }

  clustersOf(assignment: string): Iterable<string> {
    return this.#clustersOf.get(assignment) ?? [];
  }

  /** Number of the last response with a cluster that uses this load assignment. */
  lastClusterIn(assignment: string): number {
    let last = 0;
    for (const cluster of this.clustersOf(assignment)) {
      last = Math.max(last, this.#clusters.items.get(cluster)?.sentIn ?? 0);
    }
    return last;
  }

  /** Whether a route may lead to it. A refused cluster counts: one team's mistake must not hold up a shared host. */
  isSettled(cluster: string): boolean {
    const item = this.#clusters.items.get(cluster);
    if (item === undefined) return false;
    if (item.refused !== undefined && item.refused.version === this.#version("cluster", cluster)) return true;
    if (item.sent === undefined || item.sent === GONE) return false;
    const name = this.#assignmentOf.get(cluster);
    if (name === undefined) return this.#clusters.isAccepted(cluster);
    const assignment = this.#assignments.items.get(name);
    if (assignment === undefined) return false;
    if (assignment.refused !== undefined && assignment.refused.version === this.#version("loadAssignment", name)) {
      return true;
    }
    if (this.#warmsByHealthCheck(cluster) && !this.#clusters.isAccepted(cluster)) return false;
    // Envoy acknowledges, and drops, a load assignment for which no cluster has asked.
    return assignment.subscribed && assignment.acceptedIn > item.sentIn;
  }

  #warmsByHealthCheck(cluster: string): boolean {
    return this.#cache.get("cluster", cluster)?.resource.warmsByHealthCheck === true;
  }

  #version(type: "cluster" | "loadAssignment", name: string): string {
    return this.#cache.get(type, name)?.resource.version ?? GONE;
  }
}
