import type { AddressInfo } from "node:net";
import type { ServerCredentials } from "@grpc/grpc-js";
import { renameSecret } from "../envoy/secrets.ts";
import { SYSTEM_CLOCK } from "../kube/timer-clock.ts";
import type { Source, SourceListener } from "../sources/source.ts";
import type { StatusSink } from "../status/reporter.ts";
import type { Delta } from "../translate/translator.ts";
import { Cache } from "../xds/cache.ts";
import { AddressInUseError, XdsServer } from "../xds/server.ts";
import { Controller } from "./controller.ts";
import { envoyTeller } from "./envoy-log.ts";
import { close, createHealthServer, createHttpServer, listen } from "./http.ts";
import type { Logger } from "./log.ts";
import { ObjectHosts } from "./object-hosts.ts";
import { ProgrammedNow } from "./programmed.ts";
import { ProgrammedWatch } from "./programmed-watch.ts";
import { type Settings, translateOptions } from "./settings.ts";
import { Statuses } from "./statuses.ts";
import type { Telemetry } from "./telemetry.ts";

export type RunOptions = {
  readonly settings: Settings;
  readonly xds: Endpoint & { readonly credentials: ServerCredentials };
  readonly http: Endpoint;
  /** Where there are health and metrics alone. */
  readonly health?: Endpoint;
  readonly source: (listener: SourceListener, telemetry: Telemetry) => Source;
  readonly log: Logger;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly onDelta?: (delta: Delta) => void;
  /** Who is told what is to be said of objects; files have no place for it. */
  readonly status?: (telemetry: Telemetry) => StatusSink;
};

/** Port 0 means any that is free. */
type Endpoint = { readonly address: string; readonly port: number };

export type RunningController = {
  readonly controller: Controller;
  readonly cache: Cache;
  readonly xds: XdsServer;
  readonly source: Source;
  readonly xdsPort: number;
  readonly httpPort: number;
  readonly healthPort: number | undefined;
  readonly stop: () => Promise<void>;
};

/** How long connected Envoys may take to let go of their streams. */
const STOP_MS = 1000;

/** How often certificates are looked at that nothing else has happened to. */
const EXPIRY_MS = 60 * 60 * 1000;

/** Starts a whole controller; rejects with {@link AddressInUseError}, and then nothing of it is left running. */
export async function runController(options: RunOptions): Promise<RunningController> {
  const { log } = options;
  const cache = new Cache();
  let source: Source | undefined;
  const translate = translateOptions(options.settings);
  const hosts = new ObjectHosts();
  const controller = new Controller({
    log,
    translate,
    cache,
    now: options.now,
    onDelta: (delta) => {
      for (const name of delta.hosts) {
        const { translator } = controller;
        const objects = hosts.replace(name, translator.host(name), translator.isInListener(name));
        statuses?.hostChanged(name, objects);
      }
      statuses?.changed(delta);
      options.onDelta?.(delta);
    },
  });
  const tell = envoyTeller(log, () => performance.now());
  const count = controller.telemetry.xds(() => xds.streams());
  const xds: XdsServer = new XdsServer({
    cache,
    credentials: options.xds.credentials,
    now: options.now,
    stopMs: STOP_MS,
    renameSecret,
    onReport: (report) => {
      count(report);
      tell(report);
      statuses?.report(report);
    },
  });
  const programmed = new ProgrammedNow(hosts, cache, xds);
  const statuses =
    options.status &&
    new Statuses({
      translator: controller.translator,
      watch: new ProgrammedWatch({
        now: programmed,
        hosts,
        connected: () => xds.connected,
        hostsReading: (object) => controller.translator.hostsReading(object),
      }),
      sink: options.status(controller.telemetry),
      clock: { ...SYSTEM_CLOCK, now: options.now },
    });
  const unread = () => source?.unread?.() ?? [];
  const http = createHttpServer({ controller, unread, programmed, xds, now: options.now });
  const health = createHealthServer({ controller, unread });
  controller.telemetry.observe({
    translator: controller.translator,
    connectedEnvoys: () => xds.connected,
    isSynced: () => controller.isSynced,
  });
  const xdsPort = await listening("xDS server", options.xds, () => xds.start(options.xds.address, options.xds.port));
  try {
    for (const [what, server, endpoint] of [
      ["HTTP server", http, options.http],
      ["HTTP server of health and metrics", health, options.health],
    ] as const) {
      if (endpoint === undefined) continue;
      await listening(what, endpoint, () => listen(server, endpoint.address, endpoint.port));
    }
  } catch (error) {
    await Promise.all([xds.stop(), close(http)]);
    throw error;
  }
  const { synced, ...listener } = controller.listener;
  const sourceListener: SourceListener = {
    ...listener,
    synced: () => {
      synced();
      statuses?.start();
    },
  };
  source = options.source(sourceListener, controller.telemetry);
  source.start();
  const expiries = setInterval(() => {
    controller.lookAtExpiries();
    statuses?.lookAtExpiries();
  }, EXPIRY_MS).unref();
  return {
    controller,
    cache,
    xds,
    source,
    xdsPort,
    httpPort: (http.address() as AddressInfo).port,
    healthPort: (health.address() as AddressInfo | null)?.port,
    stop: async () => {
      clearInterval(expiries);
      await source.stop();
      statuses?.stop();
      await Promise.all([xds.stop(), close(http), close(health)]);
    },
  };
}

async function listening<T>(what: string, { address, port }: Endpoint, start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    const isTaken =
      error instanceof AddressInUseError || (error instanceof Error && "code" in error && error.code === "EADDRINUSE");
    if (!isTaken) throw error;
    throw new AddressInUseError(`the ${what} cannot listen on ${address} port ${port}: it is in use`, { cause: error });
  }
}
