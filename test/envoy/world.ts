import { ServerCredentials } from "@grpc/grpc-js";
import type { ObjectChange } from "../../src/api/kinds.ts";
import type { ObjectKey } from "../../src/api/object-key.ts";
import { EchoSource } from "../../src/cli/echo.ts";
import { createLog } from "../../src/controller/log.ts";
import { type RunningController, runController } from "../../src/controller/run.ts";
import type { Settings } from "../../src/controller/settings.ts";
import type { JsonObject } from "../../src/envoy/bootstrap.ts";
import type { Source, SourceListener } from "../../src/sources/source.ts";
import { DEFAULT_SETTINGS } from "../settings.ts";
import { type Envoy, type EnvoyOptions, eventually, freePort, type Reply, request, startEnvoy } from "./harness.ts";

const LOOPBACK = "127.0.0.1";
const SETTLE_MS = 10_000;

/** A whole Isoline with a real Envoy, fed by hand. Every Service without EndpointSlices has an echo backend. */
export type World = {
  readonly envoy: () => Envoy;
  /** The controller that runs now. */
  readonly running: () => RunningController;
  readonly httpPort: number;
  readonly httpsPort: number;
  /** Applies the changes and resolves when Envoy runs what came of them. */
  readonly apply: (changes: readonly ObjectChange[]) => Promise<void>;
  /** Makes these the only objects there are. */
  readonly replace: (objects: readonly ObjectChange[]) => Promise<void>;
  readonly get: (host: string, path: string, headers?: Readonly<Record<string, string>>) => Promise<Reply>;
  /** Stops the controller and, after `meanwhile`, starts another with the same objects on the same port. */
  readonly restartController: (meanwhile: () => Promise<void>) => Promise<void>;
  /** Stops Envoy and starts another. */
  readonly restartEnvoy: () => Promise<void>;
  /** Everything the controller has logged. */
  readonly log: () => string;
  readonly stop: () => Promise<void>;
};

export type WorldOptions = {
  readonly binary: string;
  /** Where they differ from the defaults. */
  readonly settings?: Partial<Omit<Settings, "envoy">>;
  readonly envoy?: Partial<Omit<Settings["envoy"], "address" | "httpPort" | "httpsPort">>;
  /** Added to Envoy's bootstrap. */
  readonly bootstrap?: JsonObject;
  /** The limits and the listener for counters that Envoy starts with. */
  readonly edge?: Pick<Extract<EnvoyOptions, { readonly xdsPort: number }>, "limits" | "stats">;
  /** Whether Services without EndpointSlices get an echo backend; true unless told otherwise. */
  readonly echo?: boolean;
  /** What there is before the controller and Envoy start; nothing unless told otherwise. */
  readonly objects?: readonly ObjectChange[];
};

export async function startWorld(options: WorldOptions): Promise<World> {
  const [httpPort, httpsPort] = [await freePort(), await freePort()];
  let log = "";
  const objects = new Map<ObjectKey, ObjectChange>(options.objects?.map((change) => [change.key, change]));
  const handle: { listener?: SourceListener } = {};
  const byHand = (listener: SourceListener): Source => {
    handle.listener = listener;
    const start = () => {
      if (objects.size > 0) listener.changed([...objects.values()]);
      listener.synced();
    };
    return { start, stop: async () => {}, locate: () => undefined };
  };
  const listeners = { ...DEFAULT_SETTINGS.envoy, ...options.envoy, httpPort, httpsPort };
  const settings: Settings = { ...DEFAULT_SETTINGS, ...options.settings, envoy: listeners };
  const startController = (xdsPort: number) =>
    runController({
      settings,
      xds: { address: LOOPBACK, port: xdsPort, credentials: ServerCredentials.createInsecure() },
      http: { address: LOOPBACK, port: 0 },
      source: (listener) =>
        options.echo === false
          ? byHand(listener)
          : new EchoSource(byHand, listener, {
              tell: (line) => {
                log += `${line}\n`;
              },
            }),
      log: createLog({ level: "info", format: "text" }, (text) => {
        log += text;
      }),
      now: Date.now,
    });
  let running = await startController(0);
  const { xdsPort } = running;
  const { binary, edge } = options;
  const envoyOptions = { binary, xdsPort, bootstrap: options.bootstrap ?? {}, ...edge };
  let envoy = await startEnvoy(envoyOptions);
  if (objects.size > 0) await eventually(() => isSettled(running), SETTLE_MS);

  const apply = async (changes: readonly ObjectChange[]) => {
    for (const change of changes) {
      if (change.kind === "applied") objects.set(change.key, change);
      else objects.delete(change.key);
    }
    const seen = running.controller.batches;
    handle.listener?.changed(changes);
    await eventually(() => running.controller.batches > seen && isSettled(running), SETTLE_MS);
  };
  return {
    envoy: () => envoy,
    running: () => running,
    httpPort,
    httpsPort,
    apply,
    replace: async (wanted) => {
      const kept = new Set(wanted.map(({ key }) => key));
      const gone = [...objects.keys()].filter((key) => !kept.has(key));
      await apply([...gone.map((key): ObjectChange => ({ kind: "deleted", key })), ...wanted]);
    },
    get: (host, path, headers = {}) => request({ port: httpPort, host, path, headers }),
    restartController: async (meanwhile) => {
      await running.stop();
      await meanwhile();
      running = await startController(xdsPort);
      await eventually(() => isSettled(running), SETTLE_MS);
    },
    restartEnvoy: async () => {
      await envoy.stop();
      envoy = await startEnvoy(envoyOptions);
      await eventually(() => isSettled(running), SETTLE_MS);
    },
    log: () => log,
    stop: async () => {
      await envoy.stop();
      await running.stop();
    },
  };
}

/** Whether every Envoy has accepted everything that there is, removals included. */
function isSettled({ controller, xds }: RunningController): boolean {
  if (xds.envoys().length === 0) return false;
  const resources = controller.translator.current().resources;
  return resources.every(({ type, name }) =>
    // Envoy asks for the load assignments of the clusters it has; that of a cluster that is going is of no interest.
    xds.acceptances(type, name).every(({ acceptance }) => acceptance.kind !== "pending"),
  );
}
