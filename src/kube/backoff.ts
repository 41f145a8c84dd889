const FIRST_MS = 200;
const MAX_MS = 30_000;
const MAX_RETRY_AFTER_MS = 300_000;

/**
 * How long to wait after so many failures in a row: anything up to a bound that doubles, so that many who failed together do
 * not come back together, and at least as long as the server has asked for.
 */
export function backoffMs(failures: number, random: () => number, retryAfterMs = 0): number {
  const bound = Math.min(MAX_MS, FIRST_MS * 2 ** Math.min(failures - 1, 30));
  return Math.min(retryAfterMs, MAX_RETRY_AFTER_MS) + random() * bound;
}
