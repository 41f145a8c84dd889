import type * as ir from "../../ir/ir.ts";
import type { Effort } from "../effort.ts";
import { entriesOf, findIn, type IdMap, withEntry } from "./id-map.ts";

/**
 * The routes that one IngressRoute publishes, together with what it delegates: a tree of path segments that works as a DNS
 * zone does. A delegation grafts the delegate's tree in at its prefix.
 *
 * Nodes never change, so that a tree can hang below any number of parents. What is written makes new nodes from the root
 * down to its place, and shares all others: a graft costs the length of its prefix, however large the tree beside it.
 */
export class Zone {
  readonly #segments: Segments;
  #root: ZoneNode = EMPTY;

  constructor(segments: Segments) {
    this.#segments = segments;
  }

  /** Puts a route at its own path; returns the route that stood there. */
  set(route: ir.Route): ir.Route | undefined {
    const way = this.#wayTo(this.#segments.of(route.match.path));
    const { node = EMPTY } = way.at(-1) ?? {};
    this.#replace(way, { route, children: node.children });
    return node.route;
  }

  /** Replaces everything at and below `prefix` by what `zone` has there; returns what stood there, if something did. */
  graft(prefix: string, zone: Zone): ZoneNode | undefined {
    const segments = this.#segments.of(prefix);
    const grafted = zone.#wayTo(segments).at(-1)?.node;
    const way = this.#wayTo(segments);
    const before = way.at(-1)?.node;
    // An object can be delegated several prefixes, one inside the other: then the very same tree is there already.
    if (before === grafted) return undefined;
    this.#replace(way, grafted ?? EMPTY);
    return before;
  }

  routes(): readonly ir.Route[] {
    return routesOf(this.#root, new Set(), this.#segments.effort);
  }

  /** The nodes from the root down to a path, as far as there are any. */
  #wayTo(segments: readonly number[]): readonly Step[] {
    this.#segments.effort.steps += segments.length + 1;
    let node: ZoneNode | undefined = this.#root;
    const way: Step[] = [{ segment: -1, node }];
    for (const segment of segments) {
      node = node && findIn(node.children, segment);
      way.push({ segment, node });
    }
    return way;
  }

  #replace(way: readonly Step[], by: ZoneNode): void {
    let node = by;
    for (let i = way.length - 1; i > 0; i--) {
      const { segment } = way[i] ?? { segment: -1 };
      const parent = way[i - 1]?.node ?? EMPTY;
      node = { route: parent.route, children: withEntry(parent.children, segment, node) };
    }
    this.#root = node;
  }
}

export type ZoneNode = { readonly route: ir.Route | undefined; readonly children: IdMap<ZoneNode> };

type Step = { readonly segment: number; readonly node: ZoneNode | undefined };

const EMPTY: ZoneNode = { route: undefined, children: undefined };

/** The segments of paths as numbers, the same in all zones of one root. */
export class Segments {
  readonly #ids = new Map<string, number>();
  readonly effort: Effort;

  constructor(effort: Effort) {
    this.effort = effort;
  }

  of(path: string): readonly number[] {
    return path === "/" ? [] : path.slice(1).split("/").map(this.#idOf);
  }

  readonly #idOf = (segment: string): number => {
    const known = this.#ids.get(segment) ?? this.#ids.size;
    this.#ids.set(segment, known);
    return known;
  };
}

/**
 * The routes at and below a node, without those of parts that are in `seen`, to which all parts are added. Without recursion:
 * a path may have thousands of segments.
 */
export function routesOf(from: ZoneNode, seen: Set<object>, effort: Effort): readonly ir.Route[] {
  const routes: ir.Route[] = [];
  const rest: ZoneNode[] = [from];
  for (let node = rest.pop(); node !== undefined; node = rest.pop()) {
    effort.steps++;
    if (seen.has(node)) continue;
    seen.add(node);
    if (node.route !== undefined) routes.push(node.route);
    for (const child of entriesOf(node.children, seen)) rest.push(child);
  }
  return routes;
}
