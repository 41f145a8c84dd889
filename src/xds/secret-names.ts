import type { Cache } from "./cache.ts";

/**
 * The names under which one Envoy asked for secrets. Envoy asks for the server name as the client wrote it, so one
 * secret can be asked for under several names that differ in case, and one whose name is a wildcard, `*.example.com`, under
 * all names with one label in the place of the star. Nobody asks for a wildcard itself: a client that does is refused.
 */
export class SecretNames {
  /** By the names of the secrets that may answer. */
  readonly #askedBySecret = new Map<string, Set<string>>();

  add(asked: string): void {
    for (const secret of candidates(asked)) {
      const names = this.#askedBySecret.get(secret);
      if (names === undefined) this.#askedBySecret.set(secret, new Set([asked]));
      else names.add(asked);
    }
  }

  delete(asked: string): void {
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

  /** The name in the cache of the secret that answers for this name; undefined when none does. */
  nameOf(cache: Cache, asked: string): string | undefined {
    return candidates(asked).find((name) => cache.get("secret", name) !== undefined);
  }
}

/** The best first. */
function candidates(asked: string): readonly string[] {
  if (asked.startsWith("*")) return [];
  const folded = asked.toLowerCase();
  const wildcard = folded.replace(/^[^.]*/, "*");
  return [...new Set([asked, folded, wildcard])];
}
