import type { Cache } from "./cache.ts";

/**
 * The names under which one Envoy asked for secrets. Envoy asks for the server name as the client wrote it, so one
 * secret can be asked for under several names that differ in case.
 */
export class SecretNames {
  readonly #askedByLowerCase = new Map<string, Set<string>>();

  add(asked: string): void {
    const key = asked.toLowerCase();
    const names = this.#askedByLowerCase.get(key);
    if (names === undefined) this.#askedByLowerCase.set(key, new Set([asked]));
    else names.add(asked);
  }

  delete(asked: string): void {
    const key = asked.toLowerCase();
    const names = this.#askedByLowerCase.get(key);
    names?.delete(asked);
    if (names?.size === 0) this.#askedByLowerCase.delete(key);
  }

  /** The names asked for that a change of this secret may concern. */
  askedAs(secret: string): Iterable<string> {
    return this.#askedByLowerCase.get(secret.toLowerCase()) ?? [];
  }

  /** The name in the cache of the secret that answers for this name. */
  nameOf(cache: Cache, asked: string): string {
    return cache.get("secret", asked) !== undefined ? asked : asked.toLowerCase();
  }
}
