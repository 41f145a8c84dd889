import { fromBinary } from "@bufbuild/protobuf";
import {
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
} from "#proto/envoy/service/discovery/v3/discovery_pb.js";
import { Cache, type Resource, type ResourceChanges } from "../../src/xds/cache.ts";
import { type StreamOptions, XdsStream } from "../../src/xds/stream.ts";
import type { Report, StreamEvent } from "../../src/xds/stream-events.ts";
import { type ResourceType, TYPE_URLS } from "../../src/xds/type-urls.ts";
import type { DeltaRequest } from "../../src/xds/wire.ts";
import { renameSecret } from "./resources.ts";

/** One response, in a form that reads well in an assertion. */
export type Sent = {
  readonly type: ResourceType;
  readonly set: readonly string[];
  readonly removed: readonly string[];
};

/** A stream with a hand on each event, for examples. The socket takes everything unless `stalled`. */
export class Driver {
  readonly cache: Cache = new Cache();
  readonly stream: XdsStream;
  readonly reports: Report[] = [];
  readonly responses: DeltaDiscoveryResponse[] = [];
  stalled: boolean = false;
  nowMs: number = 0;
  /** Nonce of the last response of each type. */
  readonly #nonces = new Map<ResourceType, string>();

  private constructor(resources: readonly Resource[], isReady: boolean, options: Partial<StreamOptions> = {}) {
    this.cache.apply({ set: resources, removed: [] });
    if (isReady) this.cache.ready();
    this.stream = new XdsStream(this.cache, { renameSecret, ...options });
  }

  static with(...resources: readonly Resource[]): Driver {
    return new Driver(resources, true);
  }

  static withMaxAliases(maxAliases: number, ...resources: readonly Resource[]): Driver {
    return new Driver(resources, true, { maxAliases });
  }

  static notReady(...resources: readonly Resource[]): Driver {
    return new Driver(resources, false);
  }

  on(first: StreamEvent): readonly Sent[] {
    const sent: Sent[] = [];
    for (let event: StreamEvent | undefined = first; event !== undefined; ) {
      const effects = this.stream.on(event, this.nowMs);
      event = undefined;
      for (const effect of effects) {
        if (effect.kind === "report") this.reports.push(effect.report);
        else {
          const { type, nonce, bytes, set, removed } = effect;
          this.responses.push(fromBinary(DeltaDiscoveryResponseSchema, bytes));
          this.#nonces.set(type, nonce);
          sent.push({ type, set, removed });
          if (!this.stalled) event = { kind: "writable" };
        }
      }
    }
    return sent;
  }

  request(type: ResourceType, what: Partial<DeltaRequest> = {}): readonly Sent[] {
    return this.on({
      kind: "request",
      request: { typeUrl: TYPE_URLS[type], subscribe: [], unsubscribe: [], initialVersions: [], nonce: "", ...what },
    });
  }

  ack(type: ResourceType, what: Partial<DeltaRequest> = {}): readonly Sent[] {
    return this.request(type, { nonce: this.nonce(type), ...what });
  }

  nack(type: ResourceType, error = "bad"): readonly Sent[] {
    return this.ack(type, { error });
  }

  nonce(type: ResourceType): string {
    return this.#nonces.get(type) ?? "";
  }

  /** Lets the time come that the stream waits for. */
  wake(): readonly Sent[] {
    this.nowMs = this.stream.wakeAtMs ?? this.nowMs;
    return this.on({ kind: "time" });
  }

  apply(changes: Partial<ResourceChanges>): readonly Sent[] {
    this.cache.apply({ set: [], removed: [], ...changes });
    return this.on({ kind: "changed" });
  }
}

export function sent(type: ResourceType, ...set: readonly string[]): Sent {
  return { type, set, removed: [] };
}

export function removed(type: ResourceType, ...names: readonly string[]): Sent {
  return { type, set: [], removed: names };
}
