import * as grpc from "@grpc/grpc-js";
import { type Cache, perType } from "./cache.ts";
import { type Acceptance, acceptance, type EnvoyIdentity, type EnvoyStatus, typeStatuses } from "./envoys.ts";
import { type StreamOptions, XdsStream } from "./stream.ts";
import type { Report, StreamEvent } from "./stream-events.ts";
import type { ResourceType } from "./type-urls.ts";
import { decodeRequest } from "./wire.ts";

export type XdsServerOptions = StreamOptions & {
  readonly cache: Cache;
  readonly credentials: grpc.ServerCredentials;
  /** Milliseconds on the caller's clock, for `connectedAt`. */
  readonly now: () => number;
  /** How long `stop` waits for connections to end before it cuts them. */
  readonly stopMs: number;
  /** Called for everything worth a log line or a metric; this folder logs nothing. */
  readonly onReport: (report: ServerReport) => void;
};

export type ServerReport = { readonly envoy: EnvoyIdentity } & (
  | Report
  | { readonly kind: "connected" }
  | { readonly kind: "disconnected"; readonly reason: StreamEnd }
  | {
      readonly kind: "sent";
      readonly type: ResourceType;
      readonly set: readonly string[];
      readonly removed: readonly string[];
      readonly bytes: number;
    }
  /** It sent something that is not a request; its stream was ended. */
  | { readonly kind: "malformed"; readonly error: unknown }
  /** Our mistake; the stream was ended, the others go on. */
  | { readonly kind: "bug"; readonly error: unknown }
);

/** Envoy has ended the stream or its connection is gone, it sent what is no request, we made a mistake, or the server stops. */
export type StreamEnd = "ended" | "malformed" | "bug" | "stopped";

/** What there is to know of a stream without a walk over all names. */
export type StreamLoad = {
  readonly envoy: EnvoyIdentity;
  /** Time since Envoy has said anything. It has nothing to say when there is nothing new. */
  readonly silentMs: number;
  /** Resources that it is still to be sent, or has not answered for. */
  readonly pending: Readonly<Record<ResourceType, number>>;
};

export type XdsCounters = {
  readonly responses: number;
  readonly resources: number;
  readonly bytes: number;
};

/** The address is taken by another process. */
export class AddressInUseError extends Error {
  override readonly name: string = "AddressInUseError";
}

// It would write to standard error what is also rejected, ended or reported.
grpc.setLogVerbosity(grpc.logVerbosity.NONE);

type Call = grpc.ServerDuplexStream<Buffer, Buffer>;
type Connection = {
  envoy: EnvoyIdentity;
  readonly stream: XdsStream;
  readonly call: Call;
  alarm: Alarm | undefined;
  heardAtMs: number;
};
type Alarm = { readonly atMs: number; readonly timer: NodeJS.Timeout };

const SERVICE_PATH = "/envoy.service.discovery.v3.AggregatedDiscoveryService";

const SERVICE = {
  DeltaAggregatedResources: bidirectional("DeltaAggregatedResources"),
  StreamAggregatedResources: bidirectional("StreamAggregatedResources"),
} satisfies grpc.ServiceDefinition;

const SERVER_OPTIONS: grpc.ServerOptions = {
  // A reconnecting Envoy names everything that it holds: more than the default of 4 MB at 75,000 resources.
  "grpc.max_receive_message_length": -1,
  // Finds connections that died without a word, and keeps those alive that pass through a NAT.
  "grpc.keepalive_time_ms": 30_000,
  "grpc.keepalive_timeout_ms": 10_000,
};

/** Delta ADS over gRPC: a shell around one {@link XdsStream} for each connected Envoy. */
export class XdsServer {
  readonly #options: XdsServerOptions;
  readonly #server = new grpc.Server(SERVER_OPTIONS);
  readonly #connections = new Set<Connection>();
  #unwatch: (() => void) | undefined;
  #notifying: NodeJS.Immediate | undefined;
  #responses = 0;
  #resources = 0;
  #bytes = 0;

  constructor(options: XdsServerOptions) {
    this.#options = options;
    this.#server.addService(SERVICE, {
      DeltaAggregatedResources: (call: Call) => this.#serve(call),
      StreamAggregatedResources: (call: Call) =>
        end(call, grpc.status.UNIMPLEMENTED, "only delta xDS is served: set api_type to DELTA_GRPC"),
    });
  }

  /** Resolves to the port, which matters when `port` is 0. Rejects with {@link AddressInUseError} when it is taken. */
  async start(address: string, port: number): Promise<number> {
    const host = address.includes(":") ? `[${address}]` : address;
    const bound = await new Promise<number>((resolve, reject) => {
      this.#server.bindAsync(`${host}:${port}`, this.#options.credentials, (error, actual) => {
        if (error === null) resolve(actual);
        else if (!error.message.includes("EADDRINUSE")) reject(error);
        else reject(new AddressInUseError(`${host}:${port} is in use`, { cause: error }));
      });
    });
    this.#unwatch = this.#options.cache.onChange(() => this.#notifySoon());
    return bound;
  }

  /** Ends every stream, so that Envoys go to another replica, and cuts what is still there after `stopMs`. */
  async stop(): Promise<void> {
    this.#unwatch?.();
    clearImmediate(this.#notifying);
    for (const connection of [...this.#connections]) {
      this.#close(connection, "stopped");
      end(connection.call, grpc.status.UNAVAILABLE, "the xDS server is stopping");
    }
    const force = setTimeout(() => this.#server.forceShutdown(), this.#options.stopMs);
    await new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    clearTimeout(force);
  }

  envoys(): readonly EnvoyStatus[] {
    return [...this.#connections].map(({ envoy, stream }) => ({
      ...envoy,
      types: typeStatuses(this.#options.cache, stream),
    }));
  }

  streams(): readonly StreamLoad[] {
    const nowMs = performance.now();
    return [...this.#connections].map(({ envoy, stream, heardAtMs }) => ({
      envoy,
      silentMs: nowMs - heardAtMs,
      pending: perType((type) => stream.pending(type)),
    }));
  }

  /** How many Envoys are connected. */
  get connected(): number {
    return this.#connections.size;
  }

  /** What each connected Envoy does with the current version of a resource. */
  acceptances(
    type: ResourceType,
    name: string,
  ): readonly { readonly envoy: EnvoyIdentity; readonly acceptance: Acceptance }[] {
    return [...this.#connections].map(({ envoy, stream }) => ({
      envoy,
      acceptance: acceptance(this.#options.cache, stream, type, name),
    }));
  }

  counters(): XdsCounters {
    return {
      responses: this.#responses,
      resources: this.#resources,
      bytes: this.#bytes,
    };
  }

  #serve(call: Call): void {
    const connection: Connection = {
      envoy: { nodeId: "", address: call.getPeer(), connectedAt: this.#options.now() },
      stream: new XdsStream(this.#options.cache, this.#options),
      call,
      alarm: undefined,
      heardAtMs: performance.now(),
    };
    this.#connections.add(connection);
    this.#report(connection, { kind: "connected" });
    call.on("data", (bytes: Buffer) => this.#receive(connection, bytes));
    call.on("drain", () => this.#step(connection, { kind: "writable" }));
    call.on("end", () => {
      this.#close(connection, "ended");
      call.end();
    });
    call.on("cancelled", () => this.#close(connection, "ended"));
    call.on("error", () => this.#close(connection, "ended"));
  }

  #receive(connection: Connection, bytes: Buffer): void {
    if (!this.#connections.has(connection)) return;
    connection.heardAtMs = performance.now();
    let request: ReturnType<typeof decodeRequest>;
    try {
      request = decodeRequest(bytes);
    } catch (error) {
      this.#report(connection, { kind: "malformed", error });
      this.#close(connection, "malformed");
      end(connection.call, grpc.status.INVALID_ARGUMENT, "not a DeltaDiscoveryRequest");
      return;
    }
    if (request.nodeId !== undefined) connection.envoy = { ...connection.envoy, nodeId: request.nodeId };
    this.#step(connection, { kind: "request", request });
  }

  /** All changes of one turn of the event loop are one event for a stream. */
  #notifySoon(): void {
    this.#notifying ??= setImmediate(() => {
      this.#notifying = undefined;
      for (const connection of this.#connections) this.#step(connection, { kind: "changed" });
    });
  }

  #step(connection: Connection, first: StreamEvent): void {
    for (let event: StreamEvent | undefined = first; event !== undefined; ) {
      if (!this.#connections.has(connection)) return;
      try {
        event = this.#perform(connection, event);
        this.#setAlarm(connection);
      } catch (error) {
        this.#report(connection, { kind: "bug", error });
        this.#close(connection, "bug");
        end(connection.call, grpc.status.INTERNAL, "bug in the xDS server");
        return;
      }
    }
  }

  /** Returns "writable" when a response was taken at once; otherwise "drain" will say it. */
  #perform(connection: Connection, event: StreamEvent): StreamEvent | undefined {
    let taken = false;
    for (const effect of connection.stream.on(event, performance.now())) {
      if (effect.kind === "report") {
        this.#report(connection, effect.report);
        continue;
      }
      const { type, bytes, set, removed } = effect;
      this.#responses++;
      this.#resources += set.length;
      this.#bytes += bytes.length;
      taken = connection.call.write(bytes);
      this.#report(connection, { kind: "sent", type, set, removed, bytes: bytes.length });
    }
    return taken ? { kind: "writable" } : undefined;
  }

  #setAlarm(connection: Connection): void {
    const { stream, alarm } = connection;
    const atMs = stream.wakeAtMs;
    if (atMs === alarm?.atMs) return;
    clearTimeout(alarm?.timer);
    connection.alarm = undefined;
    if (atMs === undefined) return;
    const ring = () => {
      connection.alarm = undefined; // it may ring a little early, and is set again then
      this.#step(connection, { kind: "time" });
    };
    connection.alarm = { atMs, timer: setTimeout(ring, atMs - performance.now()) };
  }

  #close(connection: Connection, reason: StreamEnd): void {
    if (!this.#connections.delete(connection)) return;
    clearTimeout(connection.alarm?.timer);
    connection.stream.on({ kind: "closed" }, performance.now());
    this.#report(connection, { kind: "disconnected", reason });
  }

  #report(connection: Connection, report: OmitEnvoy<ServerReport>): void {
    this.#options.onReport({ envoy: connection.envoy, ...report });
  }
}

type OmitEnvoy<T> = T extends unknown ? Omit<T, "envoy"> : never;

function end(call: Call, code: grpc.status, details: string): void {
  call.emit("error", { code, details });
}

function bidirectional(method: string): grpc.MethodDefinition<Buffer, Buffer> {
  const identity = (bytes: Buffer) => bytes;
  return {
    path: `${SERVICE_PATH}/${method}`,
    requestStream: true,
    responseStream: true,
    requestSerialize: identity,
    requestDeserialize: identity,
    responseSerialize: identity,
    responseDeserialize: identity,
  };
}
