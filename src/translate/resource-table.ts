import { byCodeUnit } from "../api/order.ts";
import type { Digest, Draft, Resource, ResourceType } from "../envoy/resource.ts";

export type ResourceName = { readonly type: ResourceType; readonly name: string };

/** What became different in the table since the last time it was asked. */
export type ResourceChanges = { readonly set: readonly Resource[]; readonly removed: readonly ResourceName[] };

/** A draft with the resource that it stands for. */
export type Prepared = { readonly draft: Draft; readonly resource: Resource };

/**
 * All resources by name. Several units may hold the same resource; it goes when the last one lets go of it. Equal bytes are
 * no change.
 */
export class ResourceTable {
  /** How many resources were encoded so far, for proving that work follows the change. */
  encoded = 0;
  readonly #resources = new ByName<Resource>();
  /** How many holders of a resource there are beyond the first; nothing for most. */
  readonly #others = new ByName<number>();
  /** What a reader of the table last saw of the resources that changed since. */
  readonly #before = new ByName<Resource | undefined>();
  readonly #digest: Digest;

  constructor(digest: Digest) {
    this.#digest = digest;
  }

  /** Does all that can go wrong with a draft before anything is changed. */
  prepare(draft: Draft): Prepared {
    const known = draft.nameIsContent ? this.#resources.get(draft) : undefined;
    if (known !== undefined) return { draft, resource: known };
    const body = draft.encode();
    this.encoded++;
    return { draft, resource: resourceOf(draft, body, this.#digest(body)) };
  }

  /** Puts the resource into the table and adds a holder. Returns whether its name is new. */
  hold({ resource }: Pick<Prepared, "resource">): boolean {
    const isNew = !this.#resources.has(resource);
    if (!isNew) this.#others.set(resource, (this.#others.get(resource) ?? 0) + 1);
    this.#put(resource);
    return isNew;
  }

  /** Gives new content to a resource that is there. */
  update({ resource }: Prepared): void {
    if (!this.#resources.has(resource)) throw new Error(`no ${resource.type} ${resource.name} to update`);
    this.#put(resource);
  }

  /** Takes a holder away. Returns whether it was the last one. */
  release(name: ResourceName): boolean {
    if (!this.#resources.has(name)) throw new Error(`no ${name.type} ${name.name} to release`);
    const others = this.#others.get(name);
    if (others !== undefined) {
      if (others === 1) this.#others.delete(name);
      else this.#others.set(name, others - 1);
      return false;
    }
    this.#remember(name);
    this.#resources.delete(name);
    return true;
  }

  get(name: ResourceName): Resource | undefined {
    return this.#resources.get(name);
  }

  resources(): readonly Resource[] {
    return this.#resources.entries().map(([, resource]) => resource);
  }

  takeChanges(): ResourceChanges {
    const set: Resource[] = [];
    const removed: ResourceName[] = [];
    for (const [{ type, name }, before] of this.#before.entries()) {
      const now = this.#resources.get({ type, name });
      if (now !== undefined && (before === undefined || !sameResource(before, now))) set.push(now);
      if (now === undefined && before !== undefined) removed.push({ type, name });
    }
    this.#before.clear();
    return { set, removed };
  }

  #put(resource: Resource): void {
    const before = this.#resources.get(resource);
    if (before !== undefined && sameResource(before, resource)) return;
    this.#remember(resource);
    this.#resources.set(resource, resource);
  }

  #remember(name: ResourceName): void {
    if (!this.#before.has(name)) this.#before.set(name, this.#resources.get(name));
  }
}

/** Values by type and name. */
class ByName<Value> {
  readonly #byType = new Map<ResourceType, Map<string, Value>>();

  get({ type, name }: ResourceName): Value | undefined {
    return this.#byType.get(type)?.get(name);
  }

  has({ type, name }: ResourceName): boolean {
    return this.#byType.get(type)?.has(name) === true;
  }

  set({ type, name }: ResourceName, value: Value): void {
    const values = this.#byType.get(type);
    if (values === undefined) this.#byType.set(type, new Map([[name, value]]));
    else values.set(name, value);
  }

  delete({ type, name }: ResourceName): void {
    this.#byType.get(type)?.delete(name);
  }

  clear(): void {
    this.#byType.clear();
  }

  /** In order of type and name. */
  entries(): readonly (readonly [ResourceName, Value])[] {
    return [...this.#byType]
      .sort(([a], [b]) => byCodeUnit(a, b))
      .flatMap(([type, values]) =>
        [...values].sort(([a], [b]) => byCodeUnit(a, b)).map(([name, value]) => [{ type, name }, value] as const),
      );
  }
}

/** Field by field: an object that spread has a part in is given a shape of its own, which takes more memory than itself. */
function resourceOf(
  { type, name, clusters, origins, loadAssignment, firstCheckMs }: Draft,
  body: Uint8Array,
  version: string,
): Resource {
  if (loadAssignment === undefined) return { type, name, version, body, clusters, origins };
  if (firstCheckMs === undefined) return { type, name, version, body, clusters, origins, loadAssignment };
  return { type, name, version, body, clusters, origins, loadAssignment, firstCheckMs };
}

/** The objects that made it may differ while the bytes are the same; then only what is told of it changes. */
function sameResource(a: Resource, b: Resource): boolean {
  return a.version === b.version && a.origins.join() === b.origins.join();
}
