import { type ObjectKey, objectKey } from "../api/object-key.ts";
import { sameValue } from "../api/same-value.ts";
import type { Verdict } from "../compile/verdicts.ts";
import { wildcardOf } from "../ir/wildcard.ts";
import type { ResourceType } from "../xds/cache.ts";
import type { ServerReport } from "../xds/server.ts";
import { isIngressRoute, type ObjectHosts } from "./object-hosts.ts";
import { concern, type Programmed, type ProgrammedNow, programmedOf, type Trouble } from "./programmed.ts";

export type ProgrammedWatchOptions = {
  readonly now: ProgrammedNow;
  readonly hosts: ObjectHosts;
  readonly connected: () => number;
  /** The hosts that use a Service, by its key. */
  readonly hostsReading: (object: ObjectKey) => Iterable<string>;
};

/**
 * `Programmed` for whoever has to be told when it becomes different. It remembers what stood in the way of each host when it
 * was last looked at, and looks again when the host has changed, when an Envoy has answered for what the host waits for or
 * has refused a part of it, and when an Envoy is gone that somebody waits for.
 *
 * Hosts that nobody waits for cost nothing. In particular an Envoy that connects is not asked about them: it takes no
 * requests before it has everything, and what it refuses it reports. Nor does the first Envoy count as soon as it connects: all
 * hosts would be looked at while it waits for them, and again when it has them.
 */
export class ProgrammedWatch {
  readonly #options: ProgrammedWatchOptions;
  /** By host. None for a host that is in order. */
  readonly #troubles = new Map<string, readonly Trouble[]>();
  /** By the id of a resource that has not been answered for: the hosts that wait for it. */
  readonly #waiting = new Map<string, Set<string>>();
  /** Objects of which it was last said that there is no Envoy to ask. */
  readonly #unheard = new Set<ObjectKey>();
  /** Whether an Envoy that is connected has said anything of routes, or has had the time to. */
  #isHeard = false;
  readonly #staleHosts = new Set<string>();
  readonly #staleObjects = new Set<ObjectKey>();
  #looks = 0;

  constructor(options: ProgrammedWatchOptions) {
    this.#options = options;
  }

  /** How many times a host was looked at so far. */
  get looks(): number {
    return this.#looks;
  }

  /** How many hosts wait for an answer of some Envoy, or have one that was refused. */
  get troubled(): number {
    return this.#troubles.size;
  }

  /** A host is served in another way, and these are the objects that have or had a say in it. */
  changed(host: string, objects: Iterable<ObjectKey>): void {
    this.#staleHosts.add(host);
    for (const object of objects) this.#staleObjects.add(object);
  }

  /** Returns whether there is something to look at again. */
  report(report: ServerReport): boolean {
    switch (report.kind) {
      case "connected":
        break;
      case "disconnected":
        if (this.#options.connected() === 0) this.#isHeard = false;
        for (const host of this.#troubles.keys()) this.#staleHosts.add(host);
        break;
      case "accepted":
        if (report.type === "scopedRoute") this.hear();
        for (const { name } of report.resources) this.#answered(report.type, name);
        break;
      case "claimed":
        if (report.type === "scopedRoute") this.hear();
        for (const [id, hosts] of this.#waiting) if (id.startsWith(`${report.type} `)) addAll(this.#staleHosts, hosts);
        break;
      case "refused":
        this.hear();
        this.#answered(report.type, report.name);
        this.#refused(report.type, report.name, report.origins);
        break;
      case "retried":
      case "unknownType":
      case "sent":
      case "malformed":
      case "bug":
        break;
    }
    return this.isStale;
  }

  /** Whether {@link take} has something to do. */
  get isStale(): boolean {
    return this.#staleHosts.size > 0 || this.#staleObjects.size > 0;
  }

  /** Whether there are Envoys of which none has said anything yet. */
  get isExpecting(): boolean {
    return !this.#isHeard && this.#options.connected() > 0;
  }

  /** One has, or has had the time to. */
  hear(): void {
    if (this.#isHeard) return;
    this.#isHeard = true;
    this.#lookAgainAt(this.#unheard);
    this.#unheard.clear();
  }

  /** What is unsettled about these objects is looked at again, for events that were missed. */
  doubt(object: ObjectKey): void {
    this.#staleObjects.add(object);
    for (const host of this.#troubledHostsOf(object)) this.#staleHosts.add(host);
  }

  /**
   * Objects of which {@link of} may say something else since the last call. It goes on until there is no more to look at, or
   * its time is over: then {@link isStale} says so.
   */
  take(isOver: () => boolean): ReadonlySet<ObjectKey> {
    const objects = new Set(this.#staleObjects);
    this.#staleObjects.clear();
    for (const host of this.#staleHosts) {
      if (this.#look(host)) addAll(objects, this.#options.hosts.record(host)?.objects ?? []);
      this.#staleHosts.delete(host);
      if (isOver()) break;
    }
    return objects;
  }

  /** As of the last {@link take}. */
  of(verdict: Verdict): Programmed {
    const { object } = verdict;
    const isConcerned = concern(verdict);
    const hosts = this.#options.hosts.of(object);
    const connected = this.#asked;
    const isServed = some(hosts.values(), isConcerned);
    if (isServed && connected === 0) this.#unheard.add(object);
    else this.#unheard.delete(object);
    const troubles = [...this.#troubledHostsOf(object)]
      .filter((host) => isConcerned(hosts.get(host) === true))
      .map((host) => [host, this.#troubles.get(host) ?? []] as const);
    return programmedOf(verdict, { isServed, connected, troubles });
  }

  /** How many Envoys there are to ask. */
  get #asked(): number {
    return this.#isHeard ? this.#options.connected() : 0;
  }

  /** The object is gone. */
  forget(object: ObjectKey): void {
    this.#unheard.delete(object);
  }

  /** Whichever are fewer, the object's hosts or those in trouble: a delegate may be shared by ten thousand hosts. */
  *#troubledHostsOf(object: ObjectKey): Generator<string> {
    const hosts = this.#options.hosts.of(object);
    const [fewer, others] = hosts.size < this.#troubles.size ? [hosts, this.#troubles] : [this.#troubles, hosts];
    for (const host of fewer.keys()) if (others.has(host)) yield host;
  }

  #lookAgainAt(objects: Iterable<ObjectKey>): void {
    for (const object of objects) {
      this.#staleObjects.add(object);
      addAll(this.#staleHosts, this.#options.hosts.of(object).keys());
    }
  }

  #answered(type: ResourceType, name: string): void {
    addAll(this.#staleHosts, this.#waiting.get(idOf(type, name)) ?? []);
  }

  /** Nobody may have waited for it: an Envoy that connected later refuses what others have accepted. */
  #refused(type: ResourceType, name: string, origins: readonly string[]): void {
    switch (type) {
      case "scopedRoute":
        addAll(this.#staleHosts, this.#hostsMadeOf(origins));
        return;
      case "secret":
        // Asked for as the client wrote it, and perhaps answered by that of a wildcard.
        this.#staleHosts.add(name.toLowerCase()).add(wildcardOf(name.toLowerCase()));
        return;
      case "cluster":
        for (const origin of origins) {
          const [kind = "", namespace = "", name = ""] = origin.split("/");
          addAll(this.#staleHosts, this.#options.hostsReading(objectKey(kind, namespace, name)));
        }
        return;
      // Its last version goes on; hosts that wait for this one have been told.
      case "listener":
      case "loadAssignment":
        return;
    }
  }

  /** A root among the objects has one host, a delegate perhaps ten thousand. */
  #hostsMadeOf(origins: readonly string[]): Iterable<string> {
    const ofEach = origins.filter(isIngressRoute).map((object) => this.#options.hosts.of(object));
    return (
      ofEach
        .sort((a, b) => a.size - b.size)
        .find(({ size }) => size > 0)
        ?.keys() ?? []
    );
  }

  /** Returns whether something else stands in the way of the host now. */
  #look(host: string): boolean {
    const before = this.#troubles.get(host) ?? [];
    const isKnown = this.#options.hosts.record(host) !== undefined;
    // Without an Envoy there is nobody in whose way something could stand.
    const isAsked = isKnown && this.#asked > 0;
    if (isAsked) this.#looks++;
    const troubles = isAsked ? this.#options.now.troubles(host) : [];
    if (sameValue(before, troubles)) return false;
    for (const { type, name } of before) {
      const id = idOf(type, name);
      const hosts = this.#waiting.get(id);
      hosts?.delete(host);
      if (hosts?.size === 0) this.#waiting.delete(id);
    }
    for (const { type, name, refusal } of troubles) {
      if (refusal !== undefined) continue;
      const id = idOf(type, name);
      this.#waiting.set(id, (this.#waiting.get(id) ?? new Set()).add(host));
    }
    if (troubles.length === 0) this.#troubles.delete(host);
    else this.#troubles.set(host, troubles);
    return true;
  }
}

function idOf(type: ResourceType, name: string): string {
  return `${type} ${name}`;
}

function some<T>(items: Iterable<T>, is: (item: T) => boolean): boolean {
  for (const item of items) if (is(item)) return true;
  return false;
}

function addAll<T>(set: Set<T>, items: Iterable<T>): void {
  for (const item of items) set.add(item);
}
