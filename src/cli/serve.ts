import { randomBytes } from "node:crypto";
import { ServerCredentials } from "@grpc/grpc-js";
import { Cluster } from "../controller/cluster.ts";
import { createElection } from "../controller/election.ts";
import { createLog, type Logger, type LogOptions } from "../controller/log.ts";
import { type RunningController, type RunOptions, runController } from "../controller/run.ts";
import type { Settings } from "../controller/settings.ts";
import type { Access } from "../kube/access.ts";
import { KubeClient } from "../kube/client.ts";
import { SYSTEM_CLOCK } from "../kube/timer-clock.ts";
import { FileSource } from "../sources/files.ts";
import type { LoadBalancer } from "../status/reporter.ts";
import { exposures } from "./exposures.ts";
import { withSmallHeap } from "./small-heap.ts";
import { type RunningWebhook, startWebhook, type WebhookSettings } from "./webhook.ts";
import { mutualTls, type XdsTls } from "./xds-credentials.ts";

export type ServeOptions = ControllerOptions & { readonly objects: ObjectSource };

/** Where objects are read from. */
export type ObjectSource =
  | { readonly kind: "files"; readonly folder: string }
  /** `access` throws an `AccessError` if it is not known how to reach it. */
  | {
      readonly kind: "cluster";
      readonly access: () => Access;
      readonly userAgent: string;
      readonly webhook: WebhookSettings | undefined;
      /** What the clients of Ingresses are told to connect to. */
      readonly loadBalancer: LoadBalancer;
      /** Tells replicas apart. */
      readonly instance: string;
      /** By which one of them leads; without a namespace it is in that of `access`. */
      readonly lease: { readonly namespace: string | undefined; readonly name: string };
    };

/** What every command that runs a controller needs to know. */
export type ControllerOptions = Settings & {
  readonly xds: {
    readonly address: string;
    readonly port: number;
    /** Undefined: in clear text, to anybody who can connect. */
    readonly tls: XdsTls | undefined;
  };
  readonly http: { readonly address: string; readonly port: number };
  readonly health?: { readonly address: string; readonly port: number };
  readonly log: LogOptions;
};

/** Serves until it is told to stop. */
export async function serve(options: ServeOptions): Promise<void> {
  const stopped = untilToldToStop();
  const log = createLog(options.log, (text) => process.stderr.write(text));
  for (const warning of exposures(options)) log.warn(warning);
  const { objects } = options;
  if (objects.kind === "files") {
    const source: RunOptions["source"] = (listener) => new FileSource([objects.folder], withSmallHeap(listener));
    const running = await startController(options, log, source);
    log.info({ ...portsOf(running), files: objects.folder }, "started");
    log.info({ reason: await stopped }, "stopping");
    await running.stop();
    return;
  }
  const access = objects.access();
  const client = new KubeClient(access, objects);
  const { loadBalancer, instance, lease } = objects;
  const { namespace: ownNamespace = "default" } = access;
  const isLeading = () => election.isLeading;
  let webhook: RunningWebhook | undefined;
  let controller: RunningController | undefined;
  const cluster = new Cluster({ client, loadBalancer, instance, isLeading, log });
  const election = createElection({
    ...{ client, log, clock: SYSTEM_CLOCK, random: Math.random },
    connected: () => controller?.xds.connected ?? 0,
    namespace: lease.namespace ?? ownNamespace,
    name: lease.name,
    // A container that is started again in its pod is somebody else.
    identity: `${instance}_${randomBytes(4).toString("hex")}`,
    onChange: (isLeading) => {
      cluster.leading(isLeading);
      if (isLeading) webhook?.leading();
    },
  });
  const source: RunOptions["source"] = (listener, telemetry) => {
    telemetry.leading(isLeading);
    const synced = () => {
      listener.synced();
      // Who has not read everything has nothing to say.
      election.start();
    };
    return cluster.source(withSmallHeap({ ...listener, synced }), telemetry);
  };
  const running = await startController(options, log, source, { status: cluster.status });
  controller = running;
  const stop = async () => {
    // Nothing may be on its way any more when another replica begins.
    await cluster.stop();
    await Promise.all([election.stop(), running.stop()]);
    await client.close();
  };
  webhook = await startWebhook(objects.webhook, {
    ...{ client, log, namespace: ownNamespace, telemetry: running.controller.telemetry },
    ...{ compile: options, isLeading },
  }).catch(async (error: unknown) => {
    await stop();
    throw error;
  });
  log.info({ ...portsOf(running), webhook: webhook?.port, server: access.server }, "started");
  log.info({ reason: await stopped }, "stopping");
  await webhook?.stop();
  await stop();
}

function portsOf({ xdsPort, httpPort, healthPort }: RunningController) {
  return { xds: xdsPort, http: httpPort, health: healthPort };
}

export function startController(
  options: ControllerOptions,
  log: Logger,
  source: RunOptions["source"],
  more: Pick<RunOptions, "onDelta" | "status"> = {},
): Promise<RunningController> {
  const { address, port, tls } = options.xds;
  return runController({
    settings: options,
    xds: { address, port, credentials: tls === undefined ? ServerCredentials.createInsecure() : mutualTls(tls, log) },
    http: options.http,
    ...(options.health && { health: options.health }),
    source,
    log,
    now: Date.now,
    ...more,
  });
}

/** Resolves to the signal. A second one ends the process at once. */
export function untilToldToStop(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(signal, () => {
        if (wasToldToStop) process.exit(1);
        wasToldToStop = true;
        resolve(signal);
      });
    }
  });
}

let wasToldToStop = false;
