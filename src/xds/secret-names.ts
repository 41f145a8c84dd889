import type { Cache } from "./cache.ts";

/**
 * The names under which one Envoy asked for secrets. Envoy asks for the server name as the client wrote it, so one
 * secret can be asked for under several names that differ in case, and one whose name is a wildcard, `*.example.com`, under
 * all names with one label in the place of the star. Nobody asks for a wildcard itself: a client that does is refused.
 *
 * A name that another secret than its own answers for is an alias. Clients make up aliases, so they are counted.
 */
export class SecretNames {
  /** By the names of the secrets that may answer. */
  readonly #askedBySecret = new Map<string, Set<string>>();
  /** What Envoy has of aliases, those asked for longest ago first. */
  readonly #aliases = new Set<string>();
  /** Aliases taken away from Envoy that it has not asked for again. */
  readonly #evicted = new Set<string>();

  add(asked: string): void {
    this.#aliases.delete(asked); // to come in again as the youngest
    this.#evicted.delete(asked);
    for (const secret of candidates(asked)) {
      const names = this.#askedBySecret.get(secret);
      if (names === undefined) this.#askedBySecret.set(secret, new Set([asked]));
      else names.add(asked);
    }
  }

  delete(asked: string): void {
    this.#aliases.delete(asked);
    this.#evicted.delete(asked);
    for (const secret of candidates(asked)) {
      const names = this.#askedBySecret.get(secret);
      names?.delete(asked);
      if (names?.size === 0) this.#askedBySecret.delete(secret);
    }
  }

  /** The names asked for that a change of this secret may concern. */
  askedAs(secret: string): Iterable<string> {
    return this.#askedBySecret.get(secret) ?? [];
  }

  /** The name in the cache of the secret that answers for this name; undefined when none does, or no longer. */
  nameOf(cache: Cache, asked: string): string | undefined {
    if (this.#evicted.has(asked)) return undefined;
    return candidates(asked).find((name) => cache.get("secret", name) !== undefined);
  }

  /** Envoy has the answer to this name, or is about to: whether it is one to count is seen anew. */
  count(cache: Cache, asked: string): void {
    const name = this.nameOf(cache, asked);
    if (name === undefined || name === asked) this.#aliases.delete(asked);
    else this.#aliases.add(asked);
  }

  /** Takes out the oldest alias beyond `max`, if it `mayGo`: from now on nothing answers for it until it is asked for again. */
  evict(max: number, mayGo: (alias: string) => boolean): string | undefined {
    if (this.#aliases.size <= max) return undefined;
    const [oldest] = this.#aliases;
    if (oldest === undefined || !mayGo(oldest)) return undefined;
    this.#aliases.delete(oldest);
    this.#evicted.add(oldest);
    return oldest;
  }
}

/** The best first. */
function candidates(asked: string): readonly string[] {
  if (asked.startsWith("*")) return [];
  const folded = asked.toLowerCase();
  // What `wildcardOf` of the IR says too; nothing is imported for it, because this folder depends on no other.
  const wildcard = folded.replace(/^[^.]+/, "*");
  return [...new Set([asked, folded, wildcard])];
}
