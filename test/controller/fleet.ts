import type { ObjectChange } from "../../src/api/kinds.ts";
import type { ObjectKey } from "../../src/api/object-key.ts";
import { ObjectHosts } from "../../src/controller/object-hosts.ts";
import { type Programmed, ProgrammedNow } from "../../src/controller/programmed.ts";
import { ProgrammedWatch } from "../../src/controller/programmed-watch.ts";
import type { Delta, TranslateOptions } from "../../src/translate/translator.ts";
import { Translator } from "../../src/translate/translator.ts";
import { Cache, type Resource } from "../../src/xds/cache.ts";
import { type Acceptance, acceptance, type EnvoyIdentity } from "../../src/xds/envoys.ts";
import type { ServerReport } from "../../src/xds/server.ts";
import type { ResourceType } from "../../src/xds/type-urls.ts";
import { Link } from "../xds/link.ts";
import { ModelEnvoy } from "../xds/model-envoy.ts";
import { resource } from "../xds/resources.ts";

type Member = { readonly envoy: EnvoyIdentity; readonly link: Link; told: number };

/** The core, an xDS cache and some model Envoys, put together as a controller puts them, without sockets and timers. */
export class Fleet {
  readonly translator: Translator;
  readonly cache: Cache = new Cache();
  readonly hosts: ObjectHosts;
  readonly now: ProgrammedNow;
  readonly watch: ProgrammedWatch;
  /** What was last said of each object, by whoever looks only at what the watch names. */
  readonly said: Map<ObjectKey, Programmed> = new Map();
  /** Who is told of what Envoys do. */
  onReport: (report: ServerReport) => void = (report) => void this.watch.report(report);
  readonly #stale = new Set<ObjectKey>();
  readonly #members = new Map<number, Member>();
  readonly #away = new Map<number, Member>();
  readonly #poisoned = new Set<string>();
  #revisions = 0;

  constructor(options: TranslateOptions) {
    this.translator = new Translator(options);
    this.hosts = new ObjectHosts();
    const members = this.#members;
    const xds = {
      get connected() {
        return members.size;
      },
      acceptances: (type: ResourceType, name: string) =>
        [...members.values()].map(({ envoy, link }): { envoy: EnvoyIdentity; acceptance: Acceptance } => ({
          envoy,
          acceptance: acceptance(this.cache, link.stream, type, name),
        })),
    };
    this.now = new ProgrammedNow(this.hosts, this.cache, xds);
    this.watch = new ProgrammedWatch({
      now: this.now,
      hosts: this.hosts,
      connected: () => members.size,
      hostsReading: (object) => this.translator.hostsReading(object),
    });
    this.apply([]);
    this.cache.ready();
  }

  apply(changes: readonly ObjectChange[]): Delta {
    const delta = this.translator.apply(changes);
    const { set, removed } = delta.resources;
    this.cache.apply({ set: set.map((each) => this.#readable(each)), removed });
    for (const name of delta.hosts) {
      const { translator } = this;
      const objects = this.hosts.replace(name, translator.host(name), translator.isInListener(name));
      this.watch.changed(name, objects);
    }
    for (const [key, verdict] of delta.verdicts) {
      this.#stale.add(key);
      if (verdict !== undefined) continue;
      this.said.delete(key);
      this.watch.forget(key);
    }
    for (const n of this.#members.keys()) this.#on(n, (link) => link.on({ kind: "changed" }));
    return delta;
  }

  /** From now on Envoys refuse what is made under this name: `h|a.example.com`, or the beginning of a cluster's name. */
  poison(name: string, isPoisoned: boolean): void {
    if (isPoisoned) this.#poisoned.add(name);
    else this.#poisoned.delete(name);
  }

  /** With `isNew` it holds nothing; otherwise it comes back with what it held, if it was here before. */
  connect(n: number, isNew: boolean = false): void {
    if (this.#members.has(n)) return;
    const away = this.#away.get(n);
    const member = away ?? {
      envoy: { nodeId: `envoy-${n}`, address: `127.0.0.1:${n}`, connectedAt: 0 },
      link: new Link(this.cache, new ModelEnvoy(() => true)),
      told: 0,
    };
    if (away !== undefined) {
      away.link.reconnect(isNew ? new ModelEnvoy(() => true) : away.link.envoy);
      away.told = away.link.reports.length;
    }
    this.#members.set(n, member);
    this.watch.report({ envoy: member.envoy, kind: "connected" });
  }

  disconnect(n: number): void {
    const member = this.#members.get(n);
    if (member === undefined) return;
    this.#members.delete(n);
    this.#away.set(n, member);
    member.link.close();
    this.watch.report({ envoy: member.envoy, kind: "disconnected", reason: "ended" });
  }

  /** Delivers a request of an Envoy, or lets it read a response. */
  step(n: number, what: "request" | "read"): void {
    this.#on(n, (link) => {
      if (what === "read") link.envoy.read();
      else link.deliverRequest();
    });
  }

  settle(n: number): void {
    this.#on(n, (link) => link.settle());
  }

  /** Looks at what the watch names; returns of how many objects it said something. */
  flush(): number {
    const objects = new Set([...this.#stale, ...this.watch.take(() => false)]);
    this.#stale.clear();
    for (const object of objects) {
      const verdict = this.translator.verdicts().get(object);
      if (verdict !== undefined) this.said.set(object, this.watch.of(verdict));
    }
    return objects.size;
  }

  #on(n: number, work: (link: Link) => void): void {
    const member = this.#members.get(n);
    if (member === undefined) return;
    work(member.link);
    const { reports } = member.link;
    while (member.told < reports.length) {
      const report = reports[member.told++];
      if (report !== undefined) this.onReport({ envoy: member.envoy, ...report });
    }
  }

  /** The same resource in the form that a model Envoy reads. */
  #readable({ type, name, clusters, loadAssignment, origins }: Resource): Resource {
    const poison = [...this.#poisoned].some((prefix) => name.startsWith(prefix));
    const content = { rev: this.#revisions++, clusters, poison, ...(loadAssignment ? { loadAssignment } : {}) };
    return { ...resource(type, name, content), origins };
  }
}
