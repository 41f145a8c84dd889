import type { Resource, ResourceChanges } from "../../src/xds/cache.ts";
import type { ResourceType } from "../../src/xds/type-urls.ts";
import { type Content, resource } from "./resources.ts";

/** Longer than anything else takes. */
export const PATIENCE_MS = 1_000_000;

/** One change of what is wanted. Numbers pick names and contents out of a few. */
export type Edit =
  | {
      readonly kind: "setCluster";
      readonly n: number;
      readonly rev: number;
      readonly assignment: number;
      readonly poison: boolean;
    }
  | { readonly kind: "setAssignment"; readonly n: number; readonly rev: number; readonly poison: boolean }
  | {
      readonly kind: "setScope";
      readonly n: number;
      readonly rev: number;
      readonly clusters: number;
      readonly poison: boolean;
    }
  | {
      readonly kind: "setListener";
      readonly n: number;
      readonly rev: number;
      readonly clusters: number;
      readonly poison: boolean;
    }
  | { readonly kind: "setSecret"; readonly n: number; readonly rev: number; readonly poison: boolean }
  | { readonly kind: "remove"; readonly type: ResourceType; readonly n: number };

/** Values of `assignment` from here on make a cluster without load assignment. */
const NO_ASSIGNMENT = 4;

/** Health checks of a cluster by its `rev`: none, some that end, and some that seem never to. */
const FIRST_CHECK_MS = [undefined, 1000, PATIENCE_MS] as const;

/** Names of secrets; the last two are for the same server name, and one of them for more. */
export const SECRETS = ["h0", "h1", "h2", "a.w", "*.w"] as const;

/** What is wanted, edited the way a translator would: whoever leads to a cluster that goes is changed with it. */
export class World {
  readonly #contents = new Map<ResourceType, Map<string, Content>>();
  #before = new Map<string, Resource>();

  edit(edit: Edit): void {
    switch (edit.kind) {
      case "setCluster": {
        const firstCheckMs = FIRST_CHECK_MS[edit.rev];
        this.#of("cluster").set(`c${edit.n}`, {
          rev: edit.rev,
          ...poisonOf(edit),
          ...(edit.assignment < NO_ASSIGNMENT ? { loadAssignment: `e${edit.assignment}` } : {}),
          ...(edit.assignment < NO_ASSIGNMENT && firstCheckMs !== undefined ? { firstCheckMs } : {}),
        });
        return;
      }
      case "setAssignment":
        this.#of("loadAssignment").set(`e${edit.n}`, { rev: edit.rev, ...poisonOf(edit) });
        return;
      case "setScope":
        this.#of("scopedRoute").set(`s${edit.n}`, this.#user(edit));
        return;
      case "setListener":
        this.#of("listener").set(`l${edit.n}`, this.#user(edit));
        return;
      case "setSecret":
        this.#of("secret").set(SECRETS[edit.n] ?? `h${edit.n}`, { rev: edit.rev, ...poisonOf(edit) });
        return;
      case "remove":
        this.#remove(edit.type, edit.n);
        return;
    }
  }

  /** The changes since the last call. */
  takeChanges(): ResourceChanges {
    const now = new Map<string, Resource>();
    for (const [type, contents] of this.#contents) {
      for (const [name, content] of contents) now.set(`${type} ${name}`, resource(type, name, content));
    }
    const set = [...now].filter(([key, { version }]) => this.#before.get(key)?.version !== version).map(([, r]) => r);
    const removed = [...this.#before].filter(([key]) => !now.has(key)).map(([, { type, name }]) => ({ type, name }));
    this.#before = now;
    return { set, removed };
  }

  #user(edit: { readonly rev: number; readonly clusters: number; readonly poison: boolean }): Content {
    const clusters = [...this.#of("cluster").keys()].filter((_, index) => ((edit.clusters >> index) & 1) === 1);
    return { rev: edit.rev, clusters, ...poisonOf(edit) };
  }

  #remove(type: ResourceType, n: number): void {
    const contents = this.#of(type);
    const name = [...contents.keys()][n];
    if (name === undefined) return;
    contents.delete(name);
    if (type !== "cluster") return;
    for (const users of [this.#of("scopedRoute"), this.#of("listener")]) {
      for (const [user, content] of users) {
        if (!content.clusters?.includes(name)) continue;
        users.set(user, { ...content, clusters: content.clusters.filter((cluster) => cluster !== name) });
      }
    }
  }

  #of(type: ResourceType): Map<string, Content> {
    let contents = this.#contents.get(type);
    if (contents === undefined) {
      contents = new Map();
      this.#contents.set(type, contents);
    }
    return contents;
  }
}

function poisonOf(edit: { readonly poison: boolean }): { readonly poison?: boolean } {
  return edit.poison ? { poison: true } : {};
}
