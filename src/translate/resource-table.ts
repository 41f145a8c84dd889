import type { Digest, Draft, Resource, ResourceType } from "../envoy/resource.ts";

export type ResourceName = { readonly type: ResourceType; readonly name: string };

/** What became different in the table since the last time it was asked. */
export type ResourceChanges = { readonly set: readonly Resource[]; readonly removed: readonly ResourceName[] };

/** A draft with the resource that it stands for. */
export type Prepared = { readonly draft: Draft; readonly resource: Resource };

type Row = { readonly resource: Resource; readonly holders: number };

/**
 * All resources by name. Several units may hold the same resource; it goes when the last one lets go of it. Equal bytes are
 * no change.
 */
export class ResourceTable {
  /** How many resources were encoded so far, for proving that work follows the change. */
  encoded = 0;
  readonly #rows = new Map<string, Row>();
  /** What a reader of the table last saw of the rows that changed since. */
  readonly #before = new Map<string, Resource | undefined>();
  readonly #digest: Digest;

  constructor(digest: Digest) {
    this.#digest = digest;
  }

  /** Does all that can go wrong with a draft before anything is changed. */
  prepare(draft: Draft): Prepared {
    const row = this.#rows.get(rowId(draft));
    if (row !== undefined && draft.nameIsContent) return { draft, resource: row.resource };
    const body = draft.encode();
    this.encoded++;
    return { draft, resource: resourceOf(draft, body, this.#digest(body)) };
  }

  /** Puts the resource into the table and adds a holder. Returns whether its name is new. */
  hold({ draft, resource }: Prepared): boolean {
    const holders = this.#rows.get(rowId(draft))?.holders ?? 0;
    this.#put(resource, holders + 1);
    return holders === 0;
  }

  /** Gives new content to a resource that is there. */
  update({ draft, resource }: Prepared): void {
    const row = this.#rows.get(rowId(draft));
    if (row === undefined) throw new Error(`no ${draft.type} ${draft.name} to update`);
    this.#put(resource, row.holders);
  }

  /** Takes a holder away. Returns whether it was the last one. */
  release(name: ResourceName): boolean {
    const row = this.#rows.get(rowId(name));
    if (row === undefined) throw new Error(`no ${name.type} ${name.name} to release`);
    if (row.holders > 1) {
      this.#rows.set(rowId(name), { ...row, holders: row.holders - 1 });
      return false;
    }
    this.#remember(rowId(name));
    this.#rows.delete(rowId(name));
    return true;
  }

  get(name: ResourceName): Resource | undefined {
    return this.#rows.get(rowId(name))?.resource;
  }

  resources(): readonly Resource[] {
    return [...this.#rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { resource }]) => resource);
  }

  takeChanges(): ResourceChanges {
    const set: Resource[] = [];
    const removed: ResourceName[] = [];
    for (const [id, before] of [...this.#before].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const now = this.#rows.get(id)?.resource;
      if (now !== undefined && (before === undefined || !sameResource(before, now))) set.push(now);
      if (now === undefined && before !== undefined) removed.push({ type: before.type, name: before.name });
    }
    this.#before.clear();
    return { set, removed };
  }

  #put(resource: Resource, holders: number): void {
    const id = rowId(resource);
    const before = this.#rows.get(id)?.resource;
    const isSame = before !== undefined && sameResource(before, resource);
    if (!isSame) this.#remember(id);
    this.#rows.set(id, { resource: isSame ? before : resource, holders });
  }

  #remember(id: string): void {
    if (!this.#before.has(id)) this.#before.set(id, this.#rows.get(id)?.resource);
  }
}

/** Field by field: what rest and spread make of objects takes half as much memory again, and there are many of these. */
function resourceOf(
  { type, name, clusters, origins, loadAssignment, firstCheckMs }: Draft,
  body: Uint8Array,
  version: string,
): Resource {
  const resource = { type, name, version, body, clusters, origins };
  if (loadAssignment === undefined) return resource;
  return firstCheckMs === undefined ? { ...resource, loadAssignment } : { ...resource, loadAssignment, firstCheckMs };
}

function rowId({ type, name }: ResourceName): string {
  return `${type} ${name}`;
}

/** The objects that made it may differ while the bytes are the same; then only what is told of it changes. */
function sameResource(a: Resource, b: Resource): boolean {
  return a.version === b.version && a.origins.join() === b.origins.join();
}
