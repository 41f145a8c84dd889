import type { Cache, Resource } from "./cache.ts";
import { BEFORE_STREAM, GONE, type Ledger } from "./ledger.ts";

type EdsCluster = { readonly loadAssignment: string; readonly firstCheckMs: number | undefined };

/** What Envoy may need, once the time of a check is up, until its workers know. */
const MARGIN_MS = 500;

/**
 * Which clusters one Envoy can route to. Envoy delays the ACK of its clusters while any of them is warming, whoever that
 * belongs to, so nobody may depend on it alone: a cluster is there once it has been sent, an EDS cluster has its endpoints
 * with the ACK of its load assignment, and the first health checks are over when their own time is.
 */
export class ClusterReadiness {
  readonly #cache: Cache;
  readonly #clusters: Ledger;
  readonly #assignments: Ledger;
  /** The EDS clusters that Envoy has, and by their load assignments, which several can share. */
  readonly #edsClusters = new Map<string, EdsCluster>();
  readonly #clustersOf = new Map<string, Set<string>>();
  /** When the first health checks of a cluster that has its endpoints will be over, and those of which they are. */
  readonly #checksEnd = new Map<string, number>();
  readonly #checked = new Set<string>();
  #nextEnd: number | undefined;

  constructor(cache: Cache, clusters: Ledger, assignments: Ledger) {
    this.#cache = cache;
    this.#clusters = clusters;
    this.#assignments = assignments;
  }

  /** Envoy is being sent this cluster. */
  send(cluster: Resource): void {
    this.#forgetChecks(cluster.name);
    this.set(cluster);
  }

  /** Envoy has this cluster. */
  set({ name, loadAssignment, firstCheckMs }: Resource): void {
    const before = this.#edsClusters.get(name);
    if (before?.loadAssignment !== loadAssignment) this.#forgetAssignment(name);
    if (loadAssignment === undefined) return;
    this.#edsClusters.set(name, { loadAssignment, firstCheckMs });
    const clusters = this.#clustersOf.get(loadAssignment);
    if (clusters === undefined) this.#clustersOf.set(loadAssignment, new Set([name]));
    else clusters.add(name);
  }

  remove(cluster: string): void {
    this.#forgetChecks(cluster);
    this.#forgetAssignment(cluster);
  }

  clear(): void {
    this.#edsClusters.clear();
    this.#clustersOf.clear();
    this.#checksEnd.clear();
    this.#checked.clear();
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

  /** Whether Envoy knows where its endpoints are. A refused cluster counts: one team's mistake must not hold up a shared host. */
  hasEndpoints(cluster: string): boolean {
    if (this.#isRefused(cluster)) return true;
    const item = this.#clusters.items.get(cluster);
    if (item?.sent === undefined || item.sent === GONE) return false;
    const name = this.#edsClusters.get(cluster)?.loadAssignment;
    // What leads to it comes behind it on the same stream. Of a name, Envoy finds out by itself, and nobody waits for that.
    if (name === undefined) return true;
    const assignment = this.#assignments.items.get(name);
    if (assignment === undefined) return false;
    if (this.#assignments.isQuarantined(name, this.#version("loadAssignment", name))) return true;
    // Envoy acknowledges, and drops, a load assignment for which no cluster has asked.
    return assignment.subscribed && assignment.acceptedIn > item.sentIn;
  }

  /** Whether it also has the first answers of its endpoints to health checks, as far as anybody waits for those. */
  isWarm(cluster: string): boolean {
    if (!this.hasEndpoints(cluster)) return false;
    if (this.#edsClusters.get(cluster)?.firstCheckMs === undefined || this.#checked.has(cluster)) return true;
    return this.#isAcknowledged(cluster) || this.#isRefused(cluster);
  }

  #isRefused(cluster: string): boolean {
    return this.#clusters.isQuarantined(cluster, this.#version("cluster", cluster));
  }

  /** Envoy had no way to say that of a cluster that it held already, but with endpoints it has been warm, or soon is. */
  #isAcknowledged(cluster: string): boolean {
    if (!this.#clusters.isAccepted(cluster)) return false;
    const item = this.#clusters.items.get(cluster);
    const assignment = this.#assignments.items.get(this.#edsClusters.get(cluster)?.loadAssignment ?? "");
    return item?.acceptedIn !== BEFORE_STREAM || assignment?.claimed === true;
  }

  /** Envoy begins to check its endpoints now, if it has not begun yet. */
  beginChecks(cluster: string, nowMs: number): void {
    const firstCheckMs = this.#edsClusters.get(cluster)?.firstCheckMs;
    if (firstCheckMs === undefined || this.#checksEnd.has(cluster)) return;
    if (!this.hasEndpoints(cluster) || this.isWarm(cluster)) return;
    const end = nowMs + firstCheckMs + MARGIN_MS;
    this.#checksEnd.set(cluster, end);
    this.#nextEnd = Math.min(this.#nextEnd ?? end, end);
  }

  /** When to ask {@link takeChecked} again. It may turn out that there was no need. */
  get nextEndMs(): number | undefined {
    return this.#nextEnd;
  }

  /** The clusters whose first health checks have come to an end. */
  takeChecked(nowMs: number): readonly string[] {
    if (this.#nextEnd === undefined || nowMs < this.#nextEnd) return [];
    this.#nextEnd = undefined;
    const checked: string[] = [];
    for (const [cluster, end] of this.#checksEnd) {
      if (end <= nowMs) checked.push(cluster);
      else this.#nextEnd = Math.min(this.#nextEnd ?? end, end);
    }
    for (const cluster of checked) {
      this.#checksEnd.delete(cluster);
      this.#checked.add(cluster);
    }
    return checked;
  }

  #forgetChecks(cluster: string): void {
    this.#checksEnd.delete(cluster);
    this.#checked.delete(cluster);
  }

  #forgetAssignment(cluster: string): void {
    const assignment = this.#edsClusters.get(cluster)?.loadAssignment;
    if (assignment === undefined) return;
    this.#edsClusters.delete(cluster);
    const clusters = this.#clustersOf.get(assignment);
    clusters?.delete(cluster);
    if (clusters?.size !== 0) return;
    this.#clustersOf.delete(assignment);
    // Pushed for this cluster and never asked for: nobody will unsubscribe from it. Before Envoy's first question it
    // is not known yet what a reconnecting Envoy asks for.
    const { requested, items } = this.#assignments;
    if (requested && items.get(assignment)?.subscribed === false) this.#assignments.forget(assignment);
  }

  #version(type: "cluster" | "loadAssignment", name: string): string {
    return this.#cache.get(type, name)?.version ?? GONE;
  }
}
