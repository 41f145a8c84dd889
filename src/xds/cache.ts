import { ChangeLog } from "./change-log.ts";
import { RESOURCE_TYPES, type ResourceType } from "./type-urls.ts";

export type { ResourceType } from "./type-urls.ts";

export type Resource = {
  readonly type: ResourceType;
  readonly name: string;
  /** Content hash: equal bytes have equal versions and the other way round. Never empty. */
  readonly version: string;
  /** The encoded message, without Any. */
  readonly body: Uint8Array;
  /** Names of the clusters that must be in Envoy before this resource (scopes, listeners); for a cluster: empty. */
  readonly clusters: readonly string[];
  /** For an EDS cluster: the name of its load assignment. */
  readonly loadAssignment?: string;
  /**
   * Set for a cluster that Envoy uses only when each of its endpoints has been checked once, if scopes are to wait for that:
   * the longest that such a check takes.
   */
  readonly firstCheckMs?: number;
  /** Objects and field paths that made it, for logs: "IngressRoute/default/blog". Sorted. */
  readonly origins: readonly string[];
};

export type ResourceChanges = {
  readonly set: readonly Resource[];
  readonly removed: readonly { readonly type: ResourceType; readonly name: string }[];
};

/** What every Envoy should have, and who still has to hear of which change. */
export class Cache {
  readonly #resources = perType(() => new Map<string, Resource>());
  readonly #logs = perType(() => new ChangeLog());
  readonly #readers = new Set<CacheReader>();
  readonly #listeners = new Set<() => void>();
  #ready = false;

  /** Removals first: a name in both lists is set. */
  apply(changes: ResourceChanges): void {
    let changed = false;
    for (const { type, name } of changes.removed) {
      if (!this.#resources[type].delete(name)) continue;
      this.#append(type, name);
      changed = true;
    }
    for (const resource of changes.set) {
      const { type, name, version } = resource;
      const old = this.#resources[type].get(name);
      this.#resources[type].set(name, resource);
      // The same bytes, perhaps of other origins.
      if (old?.version === version) continue;
      this.#append(type, name);
      changed = true;
    }
    if (changed) this.#tell();
  }

  /** To be called when every source has synced. Nothing is answered before: half a state would be served as if whole. */
  ready(): void {
    if (this.#ready) return;
    this.#ready = true;
    this.#tell();
  }

  get isReady(): boolean {
    return this.#ready;
  }

  get(type: ResourceType, name: string): Resource | undefined {
    return this.#resources[type].get(name);
  }

  /** By name. */
  resources(type: ResourceType): ReadonlyMap<string, Resource> {
    return this.#resources[type];
  }

  /** How many changes are kept for readers that have not seen them. */
  logLength(type: ResourceType): number {
    return this.#logs[type].length;
  }

  /** Calls `listener` inside each `apply` that changed something, and at `ready`. The result ends that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  /** A reader that sees the changes from now on. */
  reader(): CacheReader {
    const reader = new CacheReader(this.#logs, () => this.#readers.delete(reader));
    this.#readers.add(reader);
    return reader;
  }

  #append(type: ResourceType, name: string): void {
    this.#logs[type].append(name, () => {
      let oldest = this.#logs[type].end;
      for (const reader of this.#readers) oldest = Math.min(oldest, reader.position(type));
      return oldest;
    });
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** One stream's place in the logs. */
export class CacheReader {
  readonly #logs: Readonly<Record<ResourceType, ChangeLog>>;
  readonly #positions: Record<ResourceType, number>;
  readonly #onClose: () => void;

  constructor(logs: Readonly<Record<ResourceType, ChangeLog>>, onClose: () => void) {
    this.#logs = logs;
    this.#positions = perType((type) => logs[type].end);
    this.#onClose = onClose;
  }

  position(type: ResourceType): number {
    return this.#positions[type];
  }

  /** The names changed since the last call; a name can occur more than once. */
  take(type: ResourceType): readonly string[] {
    const names = this.#logs[type].since(this.#positions[type]);
    this.#positions[type] = this.#logs[type].end;
    return names;
  }

  close(): void {
    this.#onClose();
  }
}

export function perType<T>(make: (type: ResourceType) => T): Record<ResourceType, T> {
  const [cluster, loadAssignment, listener, scopedRoute, secret] = RESOURCE_TYPES;
  return {
    cluster: make(cluster),
    loadAssignment: make(loadAssignment),
    listener: make(listener),
    scopedRoute: make(scopedRoute),
    secret: make(secret),
  };
}
