import { compact } from "../api/compact.ts";
import { Groups } from "../api/groups.ts";
import type { ObjectKey } from "../api/object-key.ts";
import type * as ir from "../ir/ir.ts";

/** One host of which something is served, as far as it matters to the objects that have a say in it. */
export type HostRecord = {
  /** The IngressRoutes among them. */
  readonly objects: readonly ObjectKey[];
  /** Whether the host stands in the listener of the secure port. A host that has just left is served in the old way until Envoy has taken that. */
  readonly inListener: "now" | "before" | "no";
};

/** Which hosts each IngressRoute has a say in. Kept by differences, so that a host costs its own objects and no others. */
export class ObjectHosts {
  readonly #records = new Map<string, HostRecord>();
  readonly #hosts = new Groups<ObjectKey, string, boolean>();

  /**
   * Takes what is served of a host now; undefined: nothing. Returns the objects that have or had a say in it. `isInListener`:
   * whether it stands in the listener of the secure port.
   */
  replace(name: string, host: ir.Host | undefined, isInListener: boolean): ReadonlySet<ObjectKey> {
    const before = this.#records.get(name);
    const concerned = new Set(before?.objects);
    for (const object of concerned) this.#hosts.delete(object, name);
    if (host === undefined) {
      this.#records.delete(name);
      return concerned;
    }
    const serving = new Set(host.routes.map(({ origin }) => origin.object));
    const objects = compact(host.objects.filter(isIngressRoute));
    for (const object of objects) {
      concerned.add(object);
      this.#hosts.set(object, name, serving.has(object));
    }
    const inListener = isInListener ? "now" : before?.inListener === "now" ? "before" : "no";
    this.#records.set(name, { objects, inListener });
    return concerned;
  }

  record(host: string): HostRecord | undefined {
    return this.#records.get(host);
  }

  /** The hosts that an object was reached for, each with whether a route of the object itself is served there. */
  of(object: ObjectKey): ReadonlyMap<string, boolean> {
    return this.#hosts.of(object);
  }
}

export function isIngressRoute(key: string): key is ObjectKey {
  return key.startsWith("IngressRoute/");
}
