import { ServerCredentials } from "@grpc/grpc-js";
import type { ObjectChange } from "../../src/api/kinds.ts";
import type { ObjectKey } from "../../src/api/object-key.ts";
import { EchoSource } from "../../src/cli/echo.ts";
import { createLog } from "../../src/controller/log.ts";
import { type RunningController, runController } from "../../src/controller/run.ts";
import type { Source, SourceListener } from "../../src/sources/source.ts";
import { type Envoy, eventually, freePort, type Reply, request, startEnvoy } from "./harness.ts";

const LOOPBACK = "127.0.0.1";
const SETTLE_MS = 10_000;

/** A whole Isoline with a real Envoy, fed by hand. Every Service without EndpointSlices has an echo backend. */
export type World = {
  readonly envoy: Envoy;
  readonly running: RunningController;
  readonly httpPort: number;
  /** Applies the changes and resolves when Envoy runs what came of them. */
  readonly apply: (changes: readonly ObjectChange[]) => Promise<void>;
  /** Makes these the only objects there are. */
  readonly replace: (objects: readonly ObjectChange[]) => Promise<void>;
  readonly get: (host: string, path: string, headers?: Readonly<Record<string, string>>) => Promise<Reply>;
  /** Everything the controller has logged. */
  readonly log: () => string;
  readonly stop: () => Promise<void>;
};

export type WorldOptions = {
  readonly binary: string;
  readonly rootNamespaces?: readonly string[];
  readonly allowLoopbackExternalName?: boolean;
  /** Whether Services without EndpointSlices get an echo backend; true unless told otherwise. */
  readonly echo?: boolean;
};

export async function startWorld(options: WorldOptions): Promise<World> {
  const httpPort = await freePort();
  let log = "";
  const handle: { listener?: SourceListener } = {};
  const byHand = (listener: SourceListener): Source => {
    handle.listener = listener;
    return { start: () => listener.synced(), stop: async () => {}, locate: () => undefined };
  };
  const running = await runController({
    translate: {
      compile: {
        rootNamespaces: options.rootNamespaces ?? [],
        allowLoopbackExternalName: options.allowLoopbackExternalName ?? false,
      },
      listeners: { address: LOOPBACK, httpPort },
      ingressClass: "contour",
    },
    xds: { address: LOOPBACK, port: 0, credentials: ServerCredentials.createInsecure() },
    http: { address: LOOPBACK, port: 0 },
    source: (listener) => (options.echo === false ? byHand(listener) : new EchoSource(byHand, listener)),
    log: createLog({ level: "info", format: "text" }, (text) => {
      log += text;
    }),
    now: Date.now,
  });
  const envoy = await startEnvoy({ binary: options.binary, xdsPort: running.xdsPort });
  const present = new Set<ObjectKey>();

  const apply = async (changes: readonly ObjectChange[]) => {
    for (const change of changes) {
      if (change.kind === "applied") present.add(change.key);
      else present.delete(change.key);
    }
    const seen = running.controller.batches;
    handle.listener?.changed(changes);
    await eventually(() => running.controller.batches > seen && isSettled(running), SETTLE_MS);
  };
  return {
    envoy,
    running,
    httpPort,
    apply,
    replace: async (objects) => {
      const kept = new Set(objects.map(({ key }) => key));
      const gone = [...present].filter((key) => !kept.has(key));
      await apply([...gone.map((key): ObjectChange => ({ kind: "deleted", key })), ...objects]);
    },
    get: (host, path, headers = {}) => request({ port: httpPort, host, path, headers }),
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
