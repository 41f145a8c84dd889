import type { Cache } from "../../src/xds/cache.ts";
import { acceptance } from "../../src/xds/envoys.ts";
import { type StreamOptions, XdsStream } from "../../src/xds/stream.ts";
import type { Report, StreamEvent } from "../../src/xds/stream-events.ts";
import { RESOURCE_TYPES } from "../../src/xds/type-urls.ts";
import type { ModelEnvoy } from "./model-envoy.ts";
import { renameSecret } from "./resources.ts";
import { PATIENCE_MS } from "./world.ts";

/** A stream and a model Envoy with two queues in between that deliver when told to. */
export class Link {
  readonly reports: Report[] = [];
  responses = 0;
  resourcesSent = 0;
  #stream: XdsStream;
  #stalled = false;
  #owesWritable = false;
  #nowMs = 0;
  readonly #cache: Cache;
  readonly #options: StreamOptions;
  #envoy: ModelEnvoy;

  constructor(cache: Cache, envoy: ModelEnvoy, options: Partial<StreamOptions> = {}) {
    this.#cache = cache;
    this.#options = { renameSecret, ...options };
    this.#envoy = envoy;
    this.#stream = new XdsStream(cache, this.#options);
    envoy.connect();
  }

  get stream(): XdsStream {
    return this.#stream;
  }

  get envoy(): ModelEnvoy {
    return this.#envoy;
  }

  /** Ends the stream and begins a new one with the same Envoy, or with another. */
  reconnect(envoy: ModelEnvoy = this.#envoy): void {
    this.#stream.on({ kind: "closed" }, this.#nowMs);
    this.#stream = new XdsStream(this.#cache, this.#options);
    this.#stalled = false;
    this.#owesWritable = false;
    this.#envoy = envoy;
    envoy.connect();
  }

  /** Ends the stream for good. */
  close(): void {
    this.#stream.on({ kind: "closed" }, this.#nowMs);
  }

  stall(): void {
    this.#stalled = true;
  }

  drain(): void {
    this.#stalled = false;
    if (this.#owesWritable) this.on({ kind: "writable" });
  }

  /** Both sides see time go by. */
  pass(ms: number): void {
    this.#nowMs += ms;
    this.#envoy.pass(ms);
    const { wakeAtMs } = this.#stream;
    if (wakeAtMs !== undefined && wakeAtMs <= this.#nowMs) this.on({ kind: "time" });
  }

  on(first: StreamEvent): void {
    for (let event: StreamEvent | undefined = first; event !== undefined; ) {
      if (event.kind === "writable") this.#owesWritable = false;
      const effects = this.#stream.on(event, this.#nowMs);
      event = undefined;
      for (const effect of effects) {
        if (effect.kind === "report") this.#takeReport(effect.report);
        else {
          if (this.#owesWritable) throw new Error("a response was made while the last one was not taken");
          this.responses++;
          this.resourcesSent += effect.set.length;
          // An unknown secret that is asked for again is refused again.
          if (effect.type !== "secret") this.resourcesSent += effect.removed.length;
          this.#envoy.receive(effect.bytes);
          this.#owesWritable = true;
          if (!this.#stalled) event = { kind: "writable" };
        }
      }
    }
    this.#checkAccepted();
  }

  /** Delivers one request. Returns whether there was one. */
  deliverRequest(): boolean {
    const request = this.#envoy.takeRequest();
    if (request === undefined) return false;
    this.on({ kind: "request", request });
    return true;
  }

  /** Delivers everything there is, until both sides have nothing more to say. */
  settle(): void {
    this.deliverAll();
    for (let rounds = 0; rounds < 100; rounds++) {
      if (!this.#envoy.isWarming && this.#stream.wakeAtMs === undefined) return;
      this.pass(PATIENCE_MS);
      this.deliverAll();
    }
    throw new Error("the stream waits for a time that does not come");
  }

  /** The same, without waiting for anything. */
  deliverAll(): void {
    this.drain();
    this.on({ kind: "changed" });
    for (let rounds = 0; rounds < 10_000; rounds++) {
      let quiet = true;
      while (this.deliverRequest()) quiet = false;
      while (this.#envoy.unread > 0) {
        this.#envoy.read();
        quiet = false;
      }
      if (quiet && !this.#envoy.begin()) return;
    }
    throw new Error("the stream never comes to rest");
  }

  /** Law: no version is counted as accepted before the Envoy has run it. */
  #takeReport(report: Report): void {
    this.reports.push(report);
    if (report.kind !== "accepted" || report.type === "loadAssignment") return;
    for (const { name, version } of report.resources) {
      if (version === "" || (report.type === "secret" && !this.#envoy.askedSecrets.has(name))) continue;
      if (!this.#envoy.ran.has(`${report.type} ${name} ${version}`)) {
        throw new Error(`${report.type} ${name} ${version} counts as accepted but was never run`);
      }
    }
  }

  #checkAccepted(): void {
    const held = { cluster: this.#envoy.clusters, listener: this.#envoy.listeners, scopedRoute: this.#envoy.scopes };
    for (const type of RESOURCE_TYPES) {
      if (type === "secret" || type === "loadAssignment") continue;
      for (const [name, resource] of this.#cache.resources(type)) {
        if (acceptance(this.#cache, this.#stream, type, name).kind !== "accepted") continue;
        if (held[type].get(name)?.version === resource.version) continue;
        throw new Error(`${type} ${name} ${resource.version} counts as accepted but is not run`);
      }
    }
  }
}
