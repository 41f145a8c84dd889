import { fromBinary } from "@bufbuild/protobuf";
import { DeltaDiscoveryResponseSchema } from "#proto/envoy/service/discovery/v3/discovery_pb.js";
import { isWildcard, RESOURCE_TYPES, type ResourceType, resourceType, TYPE_URLS } from "../../src/xds/type-urls.ts";
import type { DeltaRequest } from "../../src/xds/wire.ts";
import type { Content } from "./resources.ts";

type Held = { readonly version: string; readonly content: Content };
type HeldCluster = Held & {
  /** Has had its load assignment since it was set, and Envoy has said so, if it has one. */
  hasEndpoints: boolean;
  /** The same for the first health checks: what the main thread has taken the workers know a moment later. */
  ready: boolean;
  warming: boolean;
  /** When the time of the first health checks will be up. */
  checksEndMs: number | undefined;
  /** When Envoy gives up waiting for its load assignment. */
  readonly givesUpMs: number;
};

const FETCH_TIMEOUT_MS = 15_000;

const decoder = new TextDecoder();

/**
 * An Envoy as far as delta ADS is concerned, with the behaviour measured on the real one: clusters warm until their
 * load assignment comes, and with health checks until those are answered or their time is up, nothing is said about clusters
 * meanwhile, bad scopes refuse their whole response, and bad clusters only themselves. What it has not asked for it drops.
 * It throws when it is led to a cluster that is not there.
 */
export class ModelEnvoy {
  readonly clusters: Map<string, HeldCluster> = new Map();
  readonly assignments: Map<string, string> = new Map();
  readonly listeners: Map<string, Held> = new Map();
  readonly scopes: Map<string, Held> = new Map();
  readonly secrets: Map<string, string> = new Map();
  readonly askedSecrets: Set<string> = new Set();
  /** Everything it has ever run, as `type name version`. */
  readonly ran: Set<string> = new Set();
  readonly refusedClusters: Set<string> = new Set();
  readonly refusedAssignments: Set<string> = new Set();
  readonly #inbox: Uint8Array[] = [];
  readonly #outbox: DeltaRequest[] = [];
  readonly #heldBack: DeltaRequest[] = [];
  /** What is true of clusters when this answer has been given. */
  readonly #trueWith: Map<DeltaRequest, () => void> = new Map();
  /** What it would name in `initial_resource_versions`. */
  readonly #versions = new Map<ResourceType, Map<string, string>>();
  readonly #subscribed = new Set<string>();
  readonly #opened = new Set<ResourceType>();
  #nonces: string[] = [];
  #nowMs = 0;
  /** At its start Envoy asks for no load assignment before it is through with the clusters that need none. */
  #starting = true;
  /** Decides what Envoy leaves to the order of a hash map. */
  readonly #flip: () => boolean;

  constructor(flip: () => boolean) {
    this.#flip = flip;
    for (const type of RESOURCE_TYPES) this.#versions.set(type, new Map());
  }

  /** A new stream. What is held stays; what was on its way is lost. */
  connect(): void {
    this.#inbox.length = 0;
    this.#outbox.length = 0;
    this.#heldBack.length = 0;
    this.#opened.clear();
    this.#nonces = [];
    this.#subscribed.clear();
    // A cluster that was still warming when the stream broke is named like any other, so that no server can know.
    // Envoy gives up waiting after a time, and falls back on the load assignment in its cache.
    for (const cluster of this.clusters.values()) {
      const name = cluster.content.loadAssignment;
      if (name === undefined || !this.assignments.has(name)) continue;
      cluster.hasEndpoints = true;
      cluster.ready = true;
    }
    // Of a response that it refused but applied in part Envoy names the versions before it. If those are current again
    // just then, no server can know better; the model tells the truth instead.
    this.#versions.set("cluster", versionsOf(this.clusters));
    this.#versions.set("listener", versionsOf(this.listeners));
    this.#versions.set("loadAssignment", new Map(this.assignments));
    this.#versions.set("secret", new Map(this.secrets));
    this.#open("cluster", []);
    this.#subscribeToAssignments();
    this.#open("listener", []);
    this.#open("scopedRoute", []);
    if (this.askedSecrets.size > 0) this.#subscribe("secret", [...this.askedSecrets]);
    this.#flush();
  }

  receive(bytes: Uint8Array): void {
    this.#inbox.push(bytes);
  }

  get unread(): number {
    return this.#inbox.length;
  }

  /** The next request, if it has anything to say. */
  takeRequest(): DeltaRequest | undefined {
    const next = this.#outbox.shift();
    if (next !== undefined) this.#trueWith.get(next)?.();
    return next;
  }

  /** Acknowledges a response that was answered before, or never existed. */
  sayStale(type: ResourceType, pick: number): void {
    if (!this.#opened.has(type)) return;
    const nonces = [...this.#nonces, "99999", "x"];
    this.#say(type, { nonce: nonces[pick % nonces.length] ?? "" });
    this.#flush();
  }

  askSecret(name: string): void {
    this.askedSecrets.add(name);
    this.#subscribe("secret", [name]);
    this.#flush();
  }

  dropSecret(name: string): void {
    if (!this.askedSecrets.delete(name)) return;
    this.secrets.delete(name);
    this.#versions.get("secret")?.delete(name);
    this.#say("secret", { unsubscribe: [name] });
    this.#flush();
  }

  /** Envoy has what it starts with, apart from load assignments. Returns whether that is news. */
  begin(): boolean {
    const wasStarting = this.#starting;
    this.#starting = false;
    this.#subscribeToAssignments();
    this.#flush();
    return wasStarting;
  }

  get isWarming(): boolean {
    return [...this.clusters.values()].some((cluster) => cluster.warming);
  }

  /** Endpoints answer their first health checks. */
  answerChecks(): void {
    for (const cluster of this.clusters.values()) if (cluster.checksEndMs !== undefined) cluster.warming = false;
    this.#flush();
  }

  pass(ms: number): void {
    this.#nowMs += ms;
    for (const cluster of this.clusters.values()) {
      const { checksEndMs, givesUpMs } = cluster;
      if (this.#starting || (checksEndMs ?? givesUpMs) > this.#nowMs) continue;
      cluster.warming = false;
      if (checksEndMs !== undefined) cluster.ready = true;
    }
    this.#flush();
  }

  /** Applies the next response. */
  read(): void {
    const bytes = this.#inbox.shift();
    if (bytes === undefined) return;
    const response = fromBinary(DeltaDiscoveryResponseSchema, bytes);
    const type = resourceType(response.typeUrl);
    if (type === undefined) throw new Error(`response of unknown type ${response.typeUrl}`);
    const resources = response.resources.map(({ name, version, resource }) => {
      if (resource?.typeUrl !== response.typeUrl) throw new Error(`${name}: type ${resource?.typeUrl}`);
      return { name, version, content: contentOf(type, name, version, resource.value) };
    });
    const errors = resources.filter(({ content }) => content.poison === true).map(({ name }) => `bad ${name}`);
    switch (type) {
      case "cluster":
        for (const { name, version, content } of resources) this.#setCluster(name, version, content);
        for (const name of response.removedResources) this.#removeCluster(name);
        break;
      case "loadAssignment":
        if (!this.#opened.has(type)) return; // dropped, and never answered
        for (const { name, version, content } of resources) {
          if (!this.#subscribed.has(name)) continue; // dropped, and acknowledged
          if (content.poison === true) this.refusedAssignments.add(name);
          else if (errors.length === 0 || this.#flip()) this.#setAssignment(name, version);
        }
        break;
      case "listener":
        for (const { name, version, content } of resources) {
          if (content.poison !== true) this.#setUser("listener", name, { version, content });
        }
        for (const name of response.removedResources) this.listeners.delete(name);
        break;
      case "scopedRoute":
        if (errors.length > 0) break;
        for (const { name, version, content } of resources) this.#setUser("scopedRoute", name, { version, content });
        for (const name of response.removedResources) this.scopes.delete(name);
        break;
      case "secret":
        for (const { name, version, content } of resources) {
          if (content.poison === true || !this.askedSecrets.has(name)) continue;
          this.secrets.set(name, version);
          this.#run("secret", name, version);
        }
        for (const name of response.removedResources) {
          this.secrets.delete(name);
          // With the last client that waits for it, Envoy forgets a name.
          if (this.askedSecrets.has(name) && this.#flip()) this.dropSecret(name);
        }
        break;
    }
    if (errors.length === 0) {
      const versions = this.#versions.get(type);
      for (const { name, version } of resources) {
        const wanted = isWildcard(type) || this.#subscribed.has(name) || this.askedSecrets.has(name);
        if (wanted) versions?.set(name, version);
      }
      for (const name of response.removedResources) versions?.delete(name);
    }
    this.#nonces.push(response.nonce);
    const answer = request(type, {
      nonce: response.nonce,
      ...(errors.length === 0 ? {} : { error: errors.join(", ") }),
    });
    const applied = resources.filter(({ content }) => errors.length === 0 || (type === "cluster" && !content.poison));
    this.#trueWith.set(
      answer,
      this.#truth(
        type,
        applied.map(({ name }) => name),
      ),
    );
    this.#heldBack.push(answer);
    this.#flush();
  }

  /** What the answer to a response that brought these resources says about clusters. */
  #truth(type: ResourceType, names: readonly string[]): () => void {
    if (type === "cluster") {
      const clusters = names.flatMap((name) => this.clusters.get(name) ?? []);
      return () => {
        for (const cluster of clusters) if (cluster.hasEndpoints) cluster.ready = true;
      };
    }
    if (type !== "loadAssignment") return () => {};
    const clusters = [...this.clusters.values()].filter(({ content }) => names.includes(content.loadAssignment ?? ""));
    return () => {
      for (const cluster of clusters) {
        cluster.hasEndpoints = true;
        if (!cluster.warming) cluster.ready = true;
      }
    };
  }

  #setCluster(name: string, version: string, content: Content): void {
    if (content.poison === true) {
      this.refusedClusters.add(name);
      return;
    }
    this.refusedClusters.delete(name);
    const old = this.clusters.get(name);
    const waits = content.loadAssignment !== undefined;
    this.clusters.set(name, {
      version,
      content,
      hasEndpoints: !waits,
      ready: !waits,
      warming: waits,
      checksEndMs: undefined,
      givesUpMs: this.#nowMs + FETCH_TIMEOUT_MS,
    });
    this.#run("cluster", name, version);
    if (old !== undefined) this.#dropAssignmentOf(old);
    const assignment = content.loadAssignment;
    if (assignment !== undefined && !this.#subscribed.has(assignment)) this.#subscribeToAssignments();
  }

  #removeCluster(name: string): void {
    const cluster = this.clusters.get(name);
    if (cluster === undefined) return;
    for (const [user, { content }] of [...this.scopes, ...this.listeners]) {
      if (content.clusters?.includes(name)) throw new Error(`cluster ${name} was removed while ${user} leads to it`);
    }
    this.clusters.delete(name);
    this.refusedClusters.delete(name);
    this.#dropAssignmentOf(cluster);
  }

  #dropAssignmentOf({ content }: Held): void {
    const name = content.loadAssignment;
    if (name === undefined || !this.#subscribed.has(name)) return;
    for (const other of this.clusters.values()) if (other.content.loadAssignment === name) return;
    this.#subscribed.delete(name);
    this.assignments.delete(name);
    this.refusedAssignments.delete(name);
    this.#versions.get("loadAssignment")?.delete(name);
    this.#say("loadAssignment", { unsubscribe: [name] });
  }

  #setAssignment(name: string, version: string): void {
    this.assignments.set(name, version);
    this.refusedAssignments.delete(name);
    this.#run("loadAssignment", name, version);
    for (const cluster of this.clusters.values()) {
      const { loadAssignment, firstCheckMs } = cluster.content;
      if (loadAssignment !== name || !cluster.warming || cluster.checksEndMs !== undefined) continue;
      if (firstCheckMs === undefined) cluster.warming = false;
      else cluster.checksEndMs = this.#nowMs + firstCheckMs;
    }
  }

  #setUser(type: "listener" | "scopedRoute", name: string, held: Held): void {
    const users = type === "listener" ? this.listeners : this.scopes;
    const before = users.get(name)?.content.clusters ?? [];
    for (const cluster of held.content.clusters ?? []) {
      if (this.refusedClusters.has(cluster)) continue;
      const target = this.clusters.get(cluster);
      if (target === undefined) throw new Error(`${name} leads to ${cluster}, which is not there`);
      // Whom a listener forwards to before the checks have answered does without: it is nobody else's harm.
      if (type === "listener" ? target.hasEndpoints : target.ready) continue;
      if (before.includes(cluster)) continue;
      if (this.refusedAssignments.has(target.content.loadAssignment ?? "")) continue;
      throw new Error(`${name} leads to ${cluster}, which is not ready yet`);
    }
    users.set(name, held);
    this.#run(type, name, held.version);
  }

  #run(type: ResourceType, name: string, version: string): void {
    this.ran.add(`${type} ${name} ${version}`);
  }

  #subscribeToAssignments(): void {
    if (this.#starting) return;
    const wanted = [...this.clusters.values()].flatMap(({ content }) => content.loadAssignment ?? []);
    const names = new Set(wanted.filter((name) => !this.#subscribed.has(name)));
    if (names.size > 0) this.#subscribe("loadAssignment", [...names]);
  }

  #subscribe(type: "loadAssignment" | "secret", names: readonly string[]): void {
    if (type === "loadAssignment") for (const name of names) this.#subscribed.add(name);
    if (this.#opened.has(type)) this.#say(type, { subscribe: names });
    else this.#open(type, names);
  }

  #open(type: ResourceType, names: readonly string[]): void {
    this.#opened.add(type);
    this.#say(type, { subscribe: names, initialVersions: [...(this.#versions.get(type) ?? [])] });
  }

  #say(type: ResourceType, what: Partial<DeltaRequest>): void {
    this.#heldBack.push(request(type, what));
  }

  /** Envoy says nothing about clusters while one of them is warming. */
  #flush(): void {
    const warming = this.isWarming;
    const waiting = this.#heldBack.splice(0);
    for (const item of waiting) {
      if (warming && item.typeUrl === TYPE_URLS.cluster && item.nonce !== "") this.#heldBack.push(item);
      else this.#outbox.push(item);
    }
  }
}

function versionsOf(held: ReadonlyMap<string, Held>): Map<string, string> {
  return new Map([...held].map(([name, { version }]) => [name, version]));
}

function contentOf(type: ResourceType, name: string, version: string, body: Uint8Array): Content {
  if (type === "loadAssignment" && version === "empty") return { rev: 0 };
  const text = decoder.decode(body);
  if (type !== "secret") return JSON.parse(text);
  // See renameSecret of the tests.
  const [json, as] = text.split(" as ");
  if ((as ?? name.toLowerCase()) !== name) throw new Error(`secret ${name} has the name of ${as ?? "another"}`);
  return JSON.parse(json ?? "");
}

function request(type: ResourceType, what: Partial<DeltaRequest>): DeltaRequest {
  return { typeUrl: TYPE_URLS[type], subscribe: [], unsubscribe: [], initialVersions: [], nonce: "", ...what };
}
