import { Groups } from "../api/groups.ts";
import type { ObjectChange } from "../api/kinds.ts";
import type { ObjectKey } from "../api/object-key.ts";
import { byCodeUnit } from "../api/order.ts";
import { sameValue } from "../api/same-value.ts";
import type { CheckedUse } from "../compile/cluster-budget.ts";
import { compileEndpoints } from "../compile/endpoints.ts";
import { ingressProblems } from "../compile/ingress/self-check.ts";
import { isOurs } from "../compile/ingressroute/class.ts";
import { selfProblems } from "../compile/ingressroute/self-check.ts";
import type { CompileOptions } from "../compile/options.ts";
import type { Problem } from "../compile/problems.ts";
import { compileUnit } from "../compile/unit.ts";
import { inDocumentOrder, type Verdict, verdictOf } from "../compile/verdicts.ts";
import { httpListenerDraft, httpsListenerDraft, type ListenerOptions, needsFilterChain } from "../envoy/listeners.ts";
import { loadAssignmentDraft } from "../envoy/load-assignments.ts";
import { loadAssignmentName } from "../envoy/names.ts";
import type { Digest, Draft, Resource } from "../envoy/resource.ts";
import { hostDrafts } from "../envoy/scoped-routes.ts";
import type * as ir from "../ir/ir.ts";
import { wildcardOf } from "../ir/wildcard.ts";
import { objectFact, Store, serviceId, type Touched } from "../store/store.ts";
import type { Unit } from "../store/view.ts";
import { CheckBudget, type CheckChange } from "./check-budget.ts";
import { CheckedUses } from "./checked-uses.ts";
import { MergedFindings } from "./merged-findings.ts";
import { Readers, RecordingView } from "./recorded-reads.ts";
import { type Prepared, type ResourceChanges, ResourceTable } from "./resource-table.ts";
import { Statements } from "./statements.ts";

export type TranslateOptions = {
  readonly compile: CompileOptions;
  readonly listeners: ListenerOptions;
  /** How many connections the health checks of the endpoints of one namespace may take of each Envoy. */
  readonly maxHealthCheckConnections: number;
  readonly digest: Digest;
};

export type Translation = {
  /** All hosts of which something is served, by name. */
  readonly hosts: readonly ir.Host[];
  /** By type and name. */
  readonly resources: readonly Resource[];
  /** One for every IngressRoute of ours, in the order of their keys. */
  readonly verdicts: ReadonlyMap<ObjectKey, Verdict>;
  /** One for every Ingress of ours, in the order of their keys. */
  readonly ingresses: ReadonlyMap<ObjectKey, IngressReport>;
};

/** What is the matter with an Ingress, in the order of the document. Its status has no place for it. */
export type IngressReport = readonly Problem[];

/** What a batch of changes made different. */
export type Delta = {
  readonly resources: ResourceChanges;
  /** Clusters that these changes have made. The delta of others that ended before may have brought them already. */
  readonly newClusters: readonly Resource[];
  /** Names of the hosts that are served in another way, or no longer, or for the first time. */
  readonly hosts: ReadonlySet<string>;
  /** New verdicts; undefined for an object that is gone or no longer ours. */
  readonly verdicts: ReadonlyMap<ObjectKey, Verdict | undefined>;
  /** The same for Ingresses. */
  readonly ingresses: ReadonlyMap<ObjectKey, IngressReport | undefined>;
  /** Bugs: parts of the work that threw. What they were about stays as it was. */
  readonly failures: readonly Failure[];
};

/** `part` names a host, or says what else was to be done. */
export type Failure = { readonly part: string; readonly error: unknown };

/** What has been done so far: held against the number of hosts concerned, never against the clock. */
export type Work = {
  readonly unitsCompiled: number;
  readonly resourcesEncoded: number;
  /** What delegation took: see `Effort`. */
  readonly stepsTaken: number;
  /** By all compilations, for all objects. */
  readonly problemsFound: number;
};

/** `holds` is what the unit has a share in; the drafts themselves are not kept. */
type UnitOutput = {
  readonly host: ir.Host | undefined;
  readonly holds: readonly Held[];
  readonly checkedUses: readonly CheckedUse[];
};
type Held = Pick<Draft, "type" | "name" | "servicePort" | "checksEndpoints">;

/** Of the many units that have nothing checked. */
const NO_USES: readonly CheckedUse[] = [];

/** The whole core as one value that lives: objects in, differences out. */
export class Translator {
  readonly #options: TranslateOptions;
  readonly #store = new Store();
  readonly #readers = new Readers();
  readonly #outputs = new Map<Unit, UnitOutput>();
  readonly #findings = new MergedFindings();
  readonly #table: ResourceTable;
  /** By Service: its ports whose load assignment some cluster uses, by the name of that. */
  readonly #portsInUse = new Groups<string, string, ir.ServicePort>();
  readonly #checkBudget: CheckBudget;
  readonly #checkedUses: CheckedUses;
  readonly #verdicts = new Statements<Verdict>();
  readonly #ingresses = new Statements<IngressReport>();
  /** Hosts on the secure port. */
  readonly #secure = new Map<Unit, ir.Host>();
  /** Those of them that show in its listener, except for those that do because of a wildcard above them. */
  readonly #exceptions = new Map<Unit, ir.Host>();
  #isListenerStale = false;
  /** Names of hosts that are served in another way since the last delta. */
  #changedHosts = new Set<string>();
  readonly #failing = new Set<string>();
  /** Since the last time that somebody asked. */
  #newClusters: Resource[] = [];
  /** Of all changes that are being applied: the objects of which something else may be to be said at their end. */
  readonly #unfinished = new Set<ReadonlySet<ObjectKey>>();
  #unitsCompiled = 0;
  #stepsTaken = 0;
  #problemsFound = 0;
  #isFirst = true;

  constructor(options: TranslateOptions) {
    this.#options = options;
    this.#table = new ResourceTable(options.digest);
    this.#checkBudget = new CheckBudget(options.maxHealthCheckConnections);
    this.#checkedUses = new CheckedUses(options.maxHealthCheckConnections);
  }

  /** Compiles what the changes concern and returns the differences. Never throws for what a decoder has let through. */
  apply(changes: Iterable<ObjectChange>): Delta {
    const steps = this.steps(changes);
    for (;;) {
      const { done, value } = steps.next();
      if (done) return value;
    }
  }

  /**
   * The same, with a stop after each host, port and object for whoever has something else to do meanwhile. Until the end,
   * {@link host} and its like tell of some hosts what is new and of others what was before. Other changes may be applied in
   * between, if they are of other objects: their end brings what has become of hosts so far, whoever changed them, and an
   * object that both concern is told of by the one that ends last.
   */
  *steps(changes: Iterable<ObjectChange>): Generator<undefined, Delta> {
    if (this.#isFirst) {
      this.#isFirst = false;
      this.#table.hold(this.#table.prepare(httpListenerDraft(this.#options.listeners)));
      this.#table.hold(this.#table.prepare(httpsListenerDraft(this.#options.listeners, [], this.#options.digest)));
    }
    const touched = this.#store.apply(this.#ours(changes));
    const concerned = new Set(touched.objects);
    this.#unfinished.add(concerned);
    try {
      return yield* this.#follow(touched, concerned);
    } finally {
      this.#unfinished.delete(concerned);
    }
  }

  /** What follows from changes in the store. `concerned` gathers the objects of which there may be something else to say. */
  *#follow(touched: Touched, concerned: Set<ObjectKey>): Generator<undefined, Delta> {
    const stale = this.#readers.of(touched.facts);
    for (const unit of touched.units) stale.add(unit);
    const failures: Failure[] = [];
    const newClusters: Resource[] = [];
    const attempt = (part: string, work: () => void): void => {
      this.#attempt(part, failures, work);
      newClusters.push(...this.#newClusters);
      this.#newClusters = [];
      for (const key of [...this.#findings.takeChanged(), ...this.#checkedUses.takeChanged()]) concerned.add(key);
    };
    // Before the units: a port that they begin to use is made from the new endpoints anyway.
    for (const service of touched.endpoints) {
      for (const [name, port] of [...this.#portsInUse.of(service)]) {
        attempt(`endpoints of ${name}`, () => this.#updateEndpoints(port));
        yield;
      }
    }
    for (const unit of [...stale].sort(byCodeUnit)) {
      attempt(unit, () => this.#recompile(unit));
      yield;
    }
    for (const change of this.#checkBudget.takeChanges()) {
      const { namespace, service, portName } = change.port;
      const part = `health checks of ${namespace}/${service} ${portName}`;
      attempt(part, () => this.#updateChecks(change));
      yield;
    }
    yield* this.#reconsider(concerned, failures);
    if (this.#isListenerStale) attempt("the listener", () => this.#updateListener());
    const resources = this.#table.takeChanges();
    const hosts = this.#changedHosts;
    this.#changedHosts = new Set();
    const [verdicts, ingresses] = [this.#verdicts.takeChanges(), this.#ingresses.takeChanges()];
    return { resources, newClusters, hosts, verdicts, ingresses, failures };
  }

  current(): Translation {
    const sorted = <T>(statements: ReadonlyMap<ObjectKey, T>) =>
      new Map([...statements].sort(([a], [b]) => byCodeUnit(a, b)));
    return {
      hosts: this.hosts(),
      resources: this.#table.resources(),
      verdicts: sorted(this.#verdicts.all),
      ingresses: sorted(this.#ingresses.all),
    };
  }

  /** What is served of a host, or undefined when nothing is. */
  host(name: string): ir.Host | undefined {
    const host = this.#outputs.get(name as Unit)?.host;
    return host !== undefined && isServed(host) ? host : undefined;
  }

  /** All hosts of which something is served, by name. */
  hosts(): readonly ir.Host[] {
    const hosts = [...this.#outputs.values()].flatMap(({ host }) =>
      host !== undefined && isServed(host) ? [host] : [],
    );
    return hosts.sort((a, b) => byCodeUnit(a.name, b.name));
  }

  /** Whether the host stands in the listener of the secure port, so that its changes are changes of that. */
  isInListener(name: string): boolean {
    const unit = name as Unit;
    return this.#exceptions.has(unit) || (this.#secure.has(unit) && this.#exceptions.has(wildcardUnit(unit)));
  }

  /** Names of the hosts that looked at this object when they were last compiled. */
  hostsReading(object: ObjectKey): ReadonlySet<string> {
    return this.#readers.of([objectFact(object)]);
  }

  verdicts(): ReadonlyMap<ObjectKey, Verdict> {
    return this.#verdicts.all;
  }

  ingresses(): ReadonlyMap<ObjectKey, IngressReport> {
    return this.#ingresses.all;
  }

  /** Parts of the work that a bug keeps from being done: hosts, for most. They serve what they did before. */
  failing(): ReadonlySet<string> {
    return this.#failing;
  }

  work(): Work {
    return {
      unitsCompiled: this.#unitsCompiled,
      resourcesEncoded: this.#table.encoded,
      stepsTaken: this.#stepsTaken,
      problemsFound: this.#problemsFound,
    };
  }

  /** An object of another class is treated as one that is not there. */
  *#ours(changes: Iterable<ObjectChange>): Generator<ObjectChange> {
    for (const change of changes) {
      const isForeign =
        change.kind === "applied" &&
        change.object.kind === "IngressRoute" &&
        !isOurs(change.object, this.#options.compile);
      yield isForeign ? { kind: "deleted", key: change.key } : change;
    }
  }

  /** Everything that can throw comes before the first change, so that a unit with a bug keeps what it had. */
  #recompile(unit: Unit): void {
    this.#unitsCompiled++;
    const view = new RecordingView(this.#store);
    try {
      const { host, findings, checkedUses, effort } = compileUnit(unit, view, this.#options.compile);
      this.#stepsTaken += effort.steps;
      for (const problems of findings.values()) this.#problemsFound += problems.size;
      const drafts = host === undefined ? [] : hostDrafts(host, this.#options.listeners, this.#options.digest);
      const prepared = drafts.map((draft) => this.#table.prepare(draft));
      this.#findings.replace(unit, findings);
      this.#replaceOutput(unit, host, prepared, checkedUses);
    } finally {
      this.#readers.replace(unit, view.facts);
    }
  }

  #replaceOutput(
    unit: Unit,
    host: ir.Host | undefined,
    after: readonly Prepared[],
    usesAfter: readonly CheckedUse[],
  ): void {
    const { host: hostBefore, holds: before = [], checkedUses: usesBefore = NO_USES } = this.#outputs.get(unit) ?? {};
    if (!sameValue(hostBefore, host)) this.#changedHosts.add(unit);
    // New holders first: what both hold is never let go of in between.
    for (const prepared of after) {
      const isNew = this.#table.hold(prepared);
      if (!isNew) continue;
      if (prepared.resource.type === "cluster") this.#newClusters.push(prepared.resource);
      this.#holdEndpoints(prepared.draft);
    }
    for (const held of before) {
      const isGone = this.#table.release(held);
      if (isGone) this.#releaseEndpoints(held);
    }
    const holds = after.map(({ draft: { type, name, servicePort, checksEndpoints } }): Held => {
      if (servicePort === undefined) return { type, name };
      return checksEndpoints === true ? { type, name, servicePort, checksEndpoints } : { type, name, servicePort };
    });
    this.#noteException(unit, host);
    const checkedUses = holds.length === 0 || usesAfter.length === 0 ? NO_USES : usesAfter;
    this.#checkedUses.replace(usesBefore, checkedUses);
    if (holds.length === 0) this.#outputs.delete(unit);
    else this.#outputs.set(unit, { host, holds, checkedUses });
  }

  #noteException(unit: Unit, host: ir.Host | undefined): void {
    const wasSecure = this.#secure.delete(unit);
    const isSecure = host !== undefined && (host.tls !== undefined || host.tcpProxy !== undefined);
    if (isSecure) this.#secure.set(unit, host);
    if (this.#exceptions.delete(unit)) this.#isListenerStale = true;
    if ((wasSecure || isSecure) && this.#exceptions.has(wildcardUnit(unit))) this.#isListenerStale = true;
    if (!isSecure || !needsFilterChain(host, false, this.#options.listeners)) return;
    this.#exceptions.set(unit, host);
    this.#isListenerStale = true;
  }

  /** Its cost grows with the hosts that ask for a filter chain of their own, not with all hosts. */
  #updateListener(): void {
    const hasWildcard = [...this.#exceptions.keys()].some((unit) => unit.startsWith("*"));
    const candidates = hasWildcard ? [...this.#secure] : [...this.#exceptions];
    const exceptions = candidates
      .filter(([unit, host]) =>
        needsFilterChain(host, this.#exceptions.has(wildcardUnit(unit)), this.#options.listeners),
      )
      .map(([, host]) => host)
      .sort((a, b) => byCodeUnit(a.name, b.name));
    this.#table.update(
      this.#table.prepare(httpsListenerDraft(this.#options.listeners, exceptions, this.#options.digest)),
    );
    this.#isListenerStale = false;
  }

  /** For a cluster that has come. */
  #holdEndpoints({ servicePort: port, checksEndpoints }: Held): void {
    if (port === undefined) return;
    if (checksEndpoints === true) this.#checkBudget.add(port, () => this.#endpoints(port).length);
    const name = loadAssignmentName(port);
    const known = this.#table.get({ type: "loadAssignment", name });
    if (known !== undefined) {
      // A thousand clusters may share a thousand endpoints: those are not to be encoded by each.
      this.#table.hold({ resource: known });
      return;
    }
    this.#table.hold(this.#table.prepare(this.#loadAssignmentDraft(port, this.#endpoints(port))));
    this.#portsInUse.set(serviceId(port.namespace, port.service), name, port);
  }

  /** For a cluster that is gone. */
  #releaseEndpoints({ servicePort: port, checksEndpoints }: Held): void {
    if (port === undefined) return;
    if (checksEndpoints === true) this.#checkBudget.remove(port);
    const name = loadAssignmentName(port);
    if (!this.#table.release({ type: "loadAssignment", name })) return;
    this.#portsInUse.delete(serviceId(port.namespace, port.service), name);
  }

  /** The short road: endpoints go from the store into the table without a compilation. */
  #updateEndpoints(port: ir.ServicePort): void {
    // The last cluster that used it may be gone since.
    if (this.#table.get({ type: "loadAssignment", name: loadAssignmentName(port) }) === undefined) return;
    const endpoints = this.#endpoints(port);
    this.#table.update(this.#table.prepare(this.#loadAssignmentDraft(port, endpoints)));
    this.#checkBudget.setEndpoints(port, endpoints.length);
  }

  /** More of the endpoints of a port are health-checked than before, or fewer. Then some objects are to be told. */
  #updateChecks(change: CheckChange): void {
    const { port } = change;
    this.#checkedUses.update({ ...change, curtailedTo: this.#checkBudget.curtailedTo(port) });
    if (this.#table.get({ type: "loadAssignment", name: loadAssignmentName(port) }) === undefined) return;
    this.#table.update(this.#table.prepare(this.#loadAssignmentDraft(port, this.#endpoints(port))));
  }

  #endpoints(port: ir.ServicePort): ir.LoadAssignment["endpoints"] {
    return compileEndpoints(port, this.#store.slices(port.namespace, port.service));
  }

  #loadAssignmentDraft(port: ir.ServicePort, endpoints: ir.LoadAssignment["endpoints"]): Draft {
    return loadAssignmentDraft({ ...port, endpoints, maxChecked: this.#checkBudget.maxChecked(port) });
  }

  /** Does one part of the work; if that throws, the others are done all the same. */
  #attempt(part: string, failures: Failure[], work: () => void): void {
    try {
      work();
      this.#failing.delete(part);
    } catch (error) {
      this.#failing.add(part);
      failures.push({ part, error });
    }
  }

  /** Finds out what is to be said of objects. Each is taken out, so that whoever changes it from then on does so again. */
  *#reconsider(concerned: Set<ObjectKey>, failures: Failure[]): Generator<undefined, void> {
    for (const key of concerned) {
      concerned.delete(key);
      // Not all of its hosts are what they will be.
      if (this.#isUnfinished(key)) continue;
      this.#attempt(`status of ${key}`, failures, () => {
        const verdict = this.#verdict(key);
        const report = this.#ingressReport(key);
        this.#verdicts.set(key, verdict);
        this.#ingresses.set(key, report);
      });
      yield;
    }
  }

  /** Whether some changes that are being applied will tell of the object. */
  #isUnfinished(key: ObjectKey): boolean {
    for (const concerned of this.#unfinished) if (concerned.has(key)) return true;
    return false;
  }

  /** Undefined for an Ingress that no unit took for one of ours. */
  #ingressReport(key: ObjectKey): IngressReport | undefined {
    const object = this.#store.get(key);
    const found = this.#findings.of(key);
    if (object?.kind !== "Ingress" || found === undefined) return undefined;
    return inDocumentOrder([...ingressProblems(key, object, this.#options.compile), ...found]);
  }

  #verdict(key: ObjectKey): Verdict | undefined {
    const object = this.#store.get(key);
    if (object?.kind !== "IngressRoute") return undefined;
    const about = { key, generation: object.metadata.generation, fqdn: object.virtualHost?.fqdn };
    const found = this.#findings.of(key);
    if (found !== undefined) {
      return verdictOf(about, { reached: true, problems: [...found, ...this.#checkedUses.problemsOf(key)] });
    }
    return verdictOf(about, { reached: false, problems: selfProblems(key, object) });
  }
}

/** A host may be known only in order to be refused. */
function isServed({ routes, tcpProxy }: ir.Host): boolean {
  return routes.length > 0 || tcpProxy !== undefined;
}

/** The wildcard that stands for the host, as for others with the same ending. */
function wildcardUnit(unit: Unit): Unit {
  return wildcardOf(unit) as Unit;
}
