import { loadAssignmentName } from "../envoy/names.ts";
import type * as ir from "../ir/ir.ts";

/** What became different for one port. */
export type CheckChange = {
  readonly port: ir.ServicePort;
  /** How many of its endpoints may be checked. */
  readonly maxChecked: number;
  /** When it has more endpoints than that: the connections that it may take. Undefined when all are checked. */
  readonly curtailedTo: number | undefined;
};

type Port = {
  readonly port: ir.ServicePort;
  /** How many clusters check its endpoints. */
  clusters: number;
  endpoints: number;
  /** What it was last found to take of each sum of its namespace. */
  demand: number;
  maxChecked: number;
  curtailedTo: number | undefined;
};

type Namespace = {
  readonly ports: Map<string, Port>;
  /** By allowance: what all ports take together when none takes more than that. */
  readonly sums: number[];
  allowance: number;
};

/**
 * Bounds the connections by which an Envoy checks the health of endpoints. Each cluster with a health check has one to each
 * endpoint of its port, so that a few objects and a large Service multiply: see ADR 0017.
 *
 * The ports of a namespace share what it may take. While it is not enough, each port gets what it needs up to an allowance,
 * the largest that fits: who needs less than the others is left alone. Allowances are halves of halves of the whole, so that
 * they seldom change, and then for the ports that need more. The result depends on the ports as they are, never on what came
 * first, and a change costs work for its own namespace alone.
 */
export class CheckBudget {
  readonly #allowances: readonly number[];
  readonly #max: number;
  readonly #namespaces = new Map<string, Namespace>();
  readonly #stale = new Map<string, Port>();

  /** `max` is how many connections the health checks of one namespace may take of an Envoy. One port gets half of it at most. */
  constructor(max: number) {
    this.#max = max;
    this.#allowances = halvesOf(max);
  }

  /** A cluster that checks the endpoints of this port has come. `countEndpoints` is asked if it is the first. */
  add(port: ir.ServicePort, countEndpoints: () => number): void {
    const name = loadAssignmentName(port);
    const known = this.#port(port.namespace, name);
    if (known !== undefined) {
      known.clusters++;
      this.#stale.set(name, known);
      return;
    }
    const added = {
      port,
      clusters: 1,
      endpoints: countEndpoints(),
      demand: 0,
      maxChecked: Number.POSITIVE_INFINITY,
      curtailedTo: undefined,
    };
    const namespace = this.#namespaces.get(port.namespace) ?? this.#newNamespace();
    this.#namespaces.set(port.namespace, namespace);
    namespace.ports.set(name, added);
    this.#stale.set(name, added);
  }

  /** One of these clusters is gone. */
  remove(port: ir.ServicePort): void {
    const name = loadAssignmentName(port);
    const known = this.#port(port.namespace, name);
    if (known === undefined) throw new Error(`nobody checks ${name}`);
    known.clusters--;
    this.#stale.set(name, known);
  }

  setEndpoints(port: ir.ServicePort, endpoints: number): void {
    const name = loadAssignmentName(port);
    const known = this.#port(port.namespace, name);
    if (known === undefined || known.endpoints === endpoints) return;
    known.endpoints = endpoints;
    this.#stale.set(name, known);
  }

  /** How many endpoints of the port may be checked, from the first: as {@link takeChanges} last said. */
  maxChecked(port: ir.ServicePort): number {
    return this.#port(port.namespace, loadAssignmentName(port))?.maxChecked ?? Number.POSITIVE_INFINITY;
  }

  /** The connections that the port may take, if it has more endpoints than that: as {@link takeChanges} last said. */
  curtailedTo(port: ir.ServicePort): number | undefined {
    return this.#port(port.namespace, loadAssignmentName(port))?.curtailedTo;
  }

  /** The ports of which something is different since the last call. */
  takeChanges(): readonly CheckChange[] {
    const concerned = new Map(this.#stale);
    const namespaces = new Set<Namespace>();
    for (const port of this.#stale.values()) {
      const namespace = this.#namespaces.get(port.port.namespace);
      if (namespace === undefined) continue;
      this.#updateDemand(port, namespace);
      namespaces.add(namespace);
    }
    this.#stale.clear();
    for (const namespace of namespaces) {
      if (!this.#updateAllowance(namespace)) continue;
      for (const [name, port] of namespace.ports) concerned.set(name, port);
    }
    const changes: CheckChange[] = [];
    for (const [name, port] of concerned) {
      const change = this.#updatePort(port);
      if (change !== undefined) changes.push(change);
      if (port.clusters === 0) this.#forget(port.port.namespace, name);
    }
    return changes;
  }

  #updateDemand(port: Port, { sums }: Namespace): void {
    const demand = port.clusters * port.endpoints;
    for (const [i, allowance] of this.#allowances.entries()) {
      const more = Math.min(demand, allowance) - Math.min(port.demand, allowance);
      sums[i] = (sums[i] ?? 0) + more;
    }
    port.demand = demand;
  }

  /** Returns whether it is another one now. */
  #updateAllowance(namespace: Namespace): boolean {
    const before = namespace.allowance;
    namespace.allowance = this.#allowances.find((_, i) => (namespace.sums[i] ?? 0) <= this.#max) ?? 0;
    return namespace.allowance !== before;
  }

  #updatePort(port: Port): CheckChange | undefined {
    const { clusters, endpoints, maxChecked: maxBefore, curtailedTo: curtailedBefore } = port;
    const allowance = this.#namespaces.get(port.port.namespace)?.allowance ?? 0;
    port.maxChecked = clusters === 0 ? Number.POSITIVE_INFINITY : Math.floor(allowance / clusters);
    port.curtailedTo = endpoints > port.maxChecked ? allowance : undefined;
    const isSame =
      Math.min(endpoints, maxBefore) === Math.min(endpoints, port.maxChecked) && curtailedBefore === port.curtailedTo;
    return isSame ? undefined : { port: port.port, maxChecked: port.maxChecked, curtailedTo: port.curtailedTo };
  }

  #forget(namespace: string, name: string): void {
    const ports = this.#namespaces.get(namespace)?.ports;
    ports?.delete(name);
    if (ports?.size === 0) this.#namespaces.delete(namespace);
  }

  #port(namespace: string, name: string): Port | undefined {
    return this.#namespaces.get(namespace)?.ports.get(name);
  }

  #newNamespace(): Namespace {
    return { ports: new Map(), sums: this.#allowances.map(() => 0), allowance: this.#allowances[0] ?? 0 };
  }
}

/** Half of the number, and half of that, and so on, down to 1. */
function halvesOf(max: number): readonly number[] {
  const halves: number[] = [];
  for (let half = Math.ceil(max / 2); half >= 1; half = Math.floor(half / 2)) halves.push(half);
  return halves;
}
