import type * as ir from "../../ir/ir.ts";

/**
 * The routes that one IngressRoute publishes below one prefix, together with what it delegates: a tree of path segments that
 * works as a DNS zone does. A delegation grafts the delegate's tree in at its prefix.
 *
 * A finished zone can hang below several parents: every zone copies the nodes of others before it changes them.
 */
export class Zone {
  #root: Node = { owner: this, route: undefined, children: new Map() };

  /** Puts a route at its own path; returns the route that stood there. */
  set(route: ir.Route): ir.Route | undefined {
    const node = this.#ownNode(segmentsOf(route.match.path));
    const replaced = node.route;
    node.route = route;
    return replaced;
  }

  /** Replaces everything at and below `prefix` by what `zone` has there; returns the routes that stood there. */
  graft(prefix: string, zone: Zone): readonly ir.Route[] {
    const segments = segmentsOf(prefix);
    const grafted = zone.#find(segments);
    const last = segments.at(-1);
    if (last === undefined) {
      const replaced = collect(this.#root);
      this.#root = grafted ?? { owner: this, route: undefined, children: new Map() };
      return replaced;
    }
    const parent = this.#ownNode(segments.slice(0, -1));
    const before = parent.children.get(last);
    // An object can be delegated several prefixes, one inside the other: then the very same tree is there already.
    if (before !== undefined && before === grafted) return [];
    const replaced = collect(before);
    if (grafted === undefined) parent.children.delete(last);
    else parent.children.set(last, grafted);
    return replaced;
  }

  routes(): readonly ir.Route[] {
    return collect(this.#root);
  }

  #find(segments: readonly string[]): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const segment of segments) node = node?.children.get(segment);
    return node;
  }

  /** The node at this path, made or copied so that it and all above it are this zone's own. */
  #ownNode(segments: readonly string[]): Node {
    this.#root = this.#own(this.#root);
    let node = this.#root;
    for (const segment of segments) {
      const child = this.#own(node.children.get(segment));
      node.children.set(segment, child);
      node = child;
    }
    return node;
  }

  #own(node: Node | undefined): Node {
    if (node === undefined) return { owner: this, route: undefined, children: new Map() };
    return node.owner === this ? node : { owner: this, route: node.route, children: new Map(node.children) };
  }
}

type Node = { readonly owner: Zone; route: ir.Route | undefined; readonly children: Map<string, Node> };

function segmentsOf(path: string): readonly string[] {
  return path === "/" ? [] : path.slice(1).split("/");
}

/** Without recursion: a path may have thousands of segments. */
function collect(from: Node | undefined): ir.Route[] {
  const routes: ir.Route[] = [];
  const rest = from === undefined ? [] : [from];
  for (let node = rest.pop(); node !== undefined; node = rest.pop()) {
    if (node.route !== undefined) routes.push(node.route);
    for (const child of node.children.values()) rest.push(child);
  }
  return routes;
}
