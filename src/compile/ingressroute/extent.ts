import type { Route } from "../../api/ingress-route.ts";
import { commonPath, isInside, withoutTrailingSlash } from "./paths.ts";

/**
 * Where the routes of an object lie, looked at once, so that each prefix that is delegated to it costs little: as often as
 * there are routes in the one who delegates.
 */
export class Extent {
  /** Each is of the first routes, up to `index`: the longest path inside of which all of them lie. */
  readonly #common: { readonly index: number; readonly path: string }[] = [];
  readonly #sorted: readonly string[];

  constructor(routes: readonly Pick<Route, "match">[]) {
    const paths: string[] = [];
    for (const [index, { match }] of routes.entries()) {
      if (!match?.startsWith("/")) continue;
      const path = withoutTrailingSlash(match);
      paths.push(path);
      const before = this.#common.at(-1)?.path;
      const common = before === undefined ? path : commonPath(before, path);
      if (common !== before) this.#common.push({ index, path: common });
    }
    this.#sorted = paths.sort();
  }

  /** The first route that is not inside the prefix, and how many there are beside it; undefined if all are inside. */
  outside(prefix: string): { readonly index: number; readonly others: number } | undefined {
    // Each path holds the one before it, so that from the first that is not inside on none is.
    const { index } = this.#common[firstOf(this.#common, ({ path }) => !isInside(path, prefix))] ?? {};
    if (index === undefined) return undefined;
    const from = (path: string) => firstOf(this.#sorted, (other) => other >= path);
    // What is inside sorts together, but for the prefix itself: "0" is what follows "/".
    const itself = firstOf(this.#sorted, (other) => other > prefix) - from(prefix);
    const inside = itself + from(`${prefix}0`) - from(`${prefix}/`);
    return { index, others: this.#sorted.length - inside - 1 };
  }
}

/** The place of the first item for which it holds, if it holds for all after that; the length of the list if for none. */
function firstOf<T>(list: readonly T[], holds: (item: T) => boolean): number {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const item = list[middle];
    if (item !== undefined && holds(item)) high = middle;
    else low = middle + 1;
  }
  return low;
}
