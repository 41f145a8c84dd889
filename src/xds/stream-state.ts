import { type Cache, perType, type Resource } from "./cache.ts";
import { ClusterReadiness } from "./cluster-readiness.ts";
import { ClusterUsers, type UserType, userNamed, userOf } from "./cluster-users.ts";
import { GONE, Ledger } from "./ledger.ts";
import { SecretNames } from "./secret-names.ts";
import type { ResourceType } from "./type-urls.ts";
import { type EncodedResource, emptyLoadAssignment } from "./wire.ts";

/** Version of the empty load assignment that answers for a name that does not exist. */
export const EMPTY_ASSIGNMENT = "empty";

/** What one stream knows of its Envoy, and the questions about it that need more than one part. */
export class StreamState {
  readonly cache: Cache;
  readonly ledgers: Readonly<Record<ResourceType, Ledger>> = perType(() => new Ledger());
  readonly readiness: ClusterReadiness;
  readonly users: ClusterUsers = new ClusterUsers();
  readonly secrets: SecretNames = new SecretNames();

  constructor(cache: Cache) {
    this.cache = cache;
    this.readiness = new ClusterReadiness(cache, this.ledgers.cluster, this.ledgers.loadAssignment);
  }

  /** What the cache has for a name that Envoy uses. */
  resource(type: ResourceType, name: string): Resource | undefined {
    const known = type === "secret" ? this.secrets.nameOf(this.cache, name) : name;
    return known === undefined ? undefined : this.cache.get(type, known);
  }

  /** The version that Envoy should have; GONE for none. */
  desired(type: ResourceType, name: string): string {
    const version = this.resource(type, name)?.version;
    if (version !== undefined || type !== "loadAssignment") return version ?? GONE;
    // Envoy ignores removals of load assignments; what it has may stay, but a question needs an answer.
    return this.ledgers.loadAssignment.items.get(name)?.sent ?? EMPTY_ASSIGNMENT;
  }

  /** The resource as it goes into a response. Undefined when it is to be removed. */
  encoded(
    type: ResourceType,
    name: string,
    renameSecret: (body: Uint8Array, name: string) => Uint8Array,
  ): EncodedResource | undefined {
    const resource = this.resource(type, name);
    if (resource === undefined) {
      if (type !== "loadAssignment") return undefined;
      return { name, version: EMPTY_ASSIGNMENT, body: emptyLoadAssignment(name) };
    }
    if (resource.name === name) return resource;
    return { name, version: resource.version, body: renameSecret(resource.body, name) };
  }

  /** A cluster that this scope or listener newly needs and that Envoy cannot route to yet. */
  missingCluster(type: UserType, name: string): string | undefined {
    const user = userOf(type, name);
    const clusters = this.cache.get(type, name)?.clusters;
    return clusters?.find((cluster) => !this.#isReady(type, cluster) && !this.users.runsWith(user, cluster));
  }

  /** Envoy has said something about this load assignment. */
  settleClustersOf(assignment: string, nowMs: number): void {
    for (const cluster of this.readiness.clustersOf(assignment)) {
      this.readiness.beginChecks(cluster, nowMs);
      this.settle(cluster);
    }
  }

  /** Lets those who wait for this cluster go on if it is ready now. */
  settle(cluster: string): void {
    for (const user of this.users.waitersFor(cluster)) {
      const { type, name } = userNamed(user);
      if (!this.#isReady(type, cluster)) continue;
      this.users.stopWaiting(user);
      this.ledgers[type].owed.add(name);
    }
  }

  /** A listener is everybody's: it waits for no health checks, those of a host that forwards connections are its own affair. */
  #isReady(type: UserType, cluster: string): boolean {
    return type === "listener" ? this.readiness.hasEndpoints(cluster) : this.readiness.isWarm(cluster);
  }
}
