import { ServerCredentials } from "@grpc/grpc-js";
import { createLog, type Logger } from "../../src/controller/log.ts";
import { type RunningController, type RunOptions, runController } from "../../src/controller/run.ts";
import type { Settings } from "../../src/controller/settings.ts";
import type { JsonObject } from "../../src/envoy/bootstrap.ts";
import { DEFAULT_SETTINGS } from "../settings.ts";
import { type Envoy, type EnvoyOptions, eventually, freePort, type Reply, request, startEnvoy } from "./harness.ts";

const LOOPBACK = "127.0.0.1";
const SETTLE_MS = 10_000;

/** A whole Isoline with a real Envoy, wherever its objects come from. */
export type Isoline = {
  readonly envoy: () => Envoy;
  /** The controller that runs now. */
  readonly running: () => RunningController;
  readonly httpPort: number;
  readonly httpsPort: number;
  readonly get: (host: string, path: string, headers?: Readonly<Record<string, string>>) => Promise<Reply>;
  /** Resolves when Envoy runs everything that the controller has; before that, when `isTold`, if it is given. */
  readonly settled: (isTold?: () => boolean) => Promise<void>;
  /** Stops the controller and, after `meanwhile`, starts another on the same port. */
  readonly restartController: (meanwhile: () => Promise<void>) => Promise<void>;
  /** Stops Envoy and starts another. */
  readonly restartEnvoy: () => Promise<void>;
  /** Everything the controller has logged. */
  readonly log: () => string;
  readonly stop: () => Promise<void>;
};

export type IsolineOptions = {
  readonly binary: string;
  /** Where they differ from the defaults. */
  readonly settings?: Partial<Omit<Settings, "envoy">>;
  readonly envoy?: Partial<Omit<Settings["envoy"], "address" | "httpPort" | "httpsPort">>;
  /** Added to Envoy's bootstrap. */
  readonly bootstrap?: JsonObject;
  /** The limits and the listener for counters that Envoy starts with. */
  readonly edge?: Pick<Extract<EnvoyOptions, { readonly xdsPort: number }>, "limits" | "stats">;
};

/** `connect` makes what ties a controller to its objects, anew for each that is started; `tell` adds a line to the log. */
export async function startIsoline(
  options: IsolineOptions,
  connect: (tell: (line: string) => void, log: Logger) => Pick<RunOptions, "source" | "status">,
): Promise<Isoline> {
  const [httpPort, httpsPort] = [await freePort(), await freePort()];
  let log = "";
  const write = (text: string) => {
    log += text;
  };
  const listeners = { ...DEFAULT_SETTINGS.envoy, ...options.envoy, httpPort, httpsPort };
  const settings: Settings = { ...DEFAULT_SETTINGS, ...options.settings, envoy: listeners };
  const logger = createLog({ level: "info", format: "text" }, write);
  const startController = (xdsPort: number) =>
    runController({
      ...connect((line) => write(`${line}\n`), logger),
      settings,
      xds: { address: LOOPBACK, port: xdsPort, credentials: ServerCredentials.createInsecure() },
      http: { address: LOOPBACK, port: 0 },
      log: logger,
      now: Date.now,
    });
  let running = await startController(0);
  const { xdsPort } = running;
  const { binary, edge } = options;
  const envoyOptions = { binary, xdsPort, bootstrap: options.bootstrap ?? {}, ...edge };
  let envoy = await startEnvoy(envoyOptions);
  const settled = async (isTold = () => true) => {
    await eventually(() => isTold() && isSettled(running), SETTLE_MS);
  };
  await settled();
  return {
    envoy: () => envoy,
    running: () => running,
    httpPort,
    httpsPort,
    get: (host, path, headers = {}) => request({ port: httpPort, host, path, headers }),
    settled,
    restartController: async (meanwhile) => {
      await running.stop();
      await meanwhile();
      running = await startController(xdsPort);
      await settled();
    },
    restartEnvoy: async () => {
      await envoy.stop();
      envoy = await startEnvoy(envoyOptions);
      await settled();
    },
    log: () => log,
    stop: async () => {
      await envoy.stop();
      await running.stop();
    },
  };
}

/** Whether everything has been applied, and every Envoy has accepted everything that there is, removals included. */
function isSettled({ controller, xds }: RunningController): boolean {
  if (!controller.isIdle || xds.envoys().length === 0) return false;
  const resources = controller.translator.current().resources;
  return resources.every(({ type, name }) =>
    // Envoy asks for the load assignments of the clusters it has; that of a cluster that is going is of no interest.
    xds.acceptances(type, name).every(({ acceptance }) => acceptance.kind !== "pending"),
  );
}
