import { apiError, ConnectionError, fields } from "./errors.ts";

export type ReflectedChange =
  | {
      readonly kind: "applied";
      /** Empty for what has no namespace. */
      readonly namespace: string;
      readonly name: string;
      /** As the API server gave it; items of a list may lack `apiVersion` and `kind`. */
      readonly raw: unknown;
    }
  | { readonly kind: "deleted"; readonly namespace: string; readonly name: string };

/** Which objects have been told of, in which version: enough to find out what a later list has to tell. */
export class KnownObjects {
  /** Resource versions by namespace and name. A version belongs to one write, so an object made anew has another one. */
  readonly #versions = new Map<string, string>();

  /** What is new in items of a list. Their keys go into `seen`. */
  listed(items: readonly unknown[], seen: Set<string>): readonly ReflectedChange[] {
    const changes: ReflectedChange[] = [];
    for (const raw of items) {
      const { namespace, name, resourceVersion } = metadataOf(raw);
      const key = keyOf(namespace, name);
      seen.add(key);
      if (this.#versions.get(key) === resourceVersion) continue;
      this.#versions.set(key, resourceVersion);
      changes.push({ kind: "applied", namespace, name, raw });
    }
    return changes;
  }

  /** Those that a whole list has not shown. */
  unseen(seen: ReadonlySet<string>): readonly ReflectedChange[] {
    const gone = [...this.#versions.keys()].filter((key) => !seen.has(key));
    return gone.map((key) => {
      this.#versions.delete(key);
      const slash = key.indexOf("/");
      return { kind: "deleted", namespace: key.slice(0, slash), name: key.slice(slash + 1) };
    });
  }

  /**
   * What an event of a watch says, and the version from which a next watch has to go on. Throws an `ApiError` for an event of
   * type ERROR.
   */
  happened(event: unknown): { readonly resourceVersion: string; readonly change: ReflectedChange | undefined } {
    const { type, object } = fields(event);
    switch (type) {
      case "ADDED":
      case "MODIFIED": {
        const { namespace, name, resourceVersion } = metadataOf(object);
        const key = keyOf(namespace, name);
        const isNew = this.#versions.get(key) !== resourceVersion;
        this.#versions.set(key, resourceVersion);
        return { resourceVersion, change: isNew ? { kind: "applied", namespace, name, raw: object } : undefined };
      }
      case "DELETED": {
        const { namespace, name, resourceVersion } = metadataOf(object);
        const wasThere = this.#versions.delete(keyOf(namespace, name));
        return { resourceVersion, change: wasThere ? { kind: "deleted", namespace, name } : undefined };
      }
      case "BOOKMARK":
        return { resourceVersion: versionOf(fields(object).metadata), change: undefined };
      case "ERROR":
        throw apiError(500, object);
      default:
        throw new ConnectionError("garbled", "an event of no known type came");
    }
  }

  /** The versions are worth nothing, as when the API server's data were restored: everything is told once more. */
  forgetVersions(): void {
    for (const key of this.#versions.keys()) this.#versions.set(key, "");
  }
}

/** In one piece: a template would keep its parts, and so what they were cut out of. */
function keyOf(namespace: string, name: string): string {
  return [namespace, name].join("/");
}

/** The `metadata.resourceVersion` of a list. */
export function versionOf(metadata: unknown): string {
  const { resourceVersion } = fields(metadata);
  if (typeof resourceVersion === "string" && resourceVersion !== "") return resourceVersion;
  throw new ConnectionError("garbled", "the answer has no resourceVersion");
}

function metadataOf(raw: unknown): {
  readonly namespace: string;
  readonly name: string;
  readonly resourceVersion: string;
} {
  const { metadata } = fields(raw);
  const { namespace = "", name } = fields(metadata);
  if (typeof name !== "string" || typeof namespace !== "string") {
    throw new ConnectionError("garbled", "an object without a name came");
  }
  return { namespace, name, resourceVersion: versionOf(metadata) };
}
