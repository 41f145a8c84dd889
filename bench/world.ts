import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { ServerCredentials } from "@grpc/grpc-js";
import type { ObjectChange } from "../src/api/kinds.ts";
import { startEnvoyProcess } from "../src/cli/envoy-process.ts";
import { translateOptions } from "../src/controller/settings.ts";
import { renameSecret } from "../src/envoy/secrets.ts";
import { type Delta, type TranslateOptions, Translator } from "../src/translate/translator.ts";
import { Cache } from "../src/xds/cache.ts";
import { type XdsCounters, XdsServer } from "../src/xds/server.ts";
import { Probe } from "./probe.ts";

/** Translator, xDS server, a real Envoy and two backends that answer with their own letter. */
export type World = {
  readonly translator: Translator;
  readonly cache: Cache;
  readonly probe: Probe;
  readonly httpsPort: number;
  readonly backends: { readonly a: number; readonly b: number };
  readonly options: TranslateOptions;
  readonly apply: (changes: readonly ObjectChange[]) => Delta;
  readonly counters: () => XdsCounters;
  readonly stop: () => Promise<void>;
};

export async function startWorld(
  binary: string,
  objects: (backends: { a: number; b: number }) => readonly ObjectChange[],
): Promise<World> {
  const [a, b, http, https] = await Promise.all(["a", "b", "", ""].map(startBackend));
  if (a === undefined || b === undefined || http === undefined || https === undefined) throw new Error("no backends");
  const [httpPort, httpsPort] = [http.port, https.port];
  await Promise.all([http.stop(), https.stop()]);
  const options = translateOptions({
    rootNamespaces: [],
    ingressClass: "contour",
    allowLoopbackExternalName: false,
    disablePermitInsecure: false,
    minimumTlsVersion: "1.1",
    maxHealthCheckConnections: 8192,
    envoy: { address: "127.0.0.1", httpPort, httpsPort, accessLog: false, trustedHops: 0, redirectPort: undefined },
  });
  const translator = new Translator(options);
  const cache = new Cache();
  const problems: string[] = [];
  const xds = new XdsServer({
    cache,
    credentials: ServerCredentials.createInsecure(),
    now: Date.now,
    stopMs: 1000,
    renameSecret,
    onReport: (report) => {
      if (report.kind === "refused" || report.kind === "bug") problems.push(JSON.stringify(report));
    },
  });
  const xdsPort = await xds.start("127.0.0.1", 0);
  const apply = (changes: readonly ObjectChange[]): Delta => {
    const delta = translator.apply(changes);
    cache.apply(delta.resources);
    return delta;
  };
  const backends = { a: a.port, b: b.port };
  apply(objects(backends));
  cache.ready();
  const envoy = await startEnvoyProcess({
    limits: { maxHeapMib: 8192, maxConnections: 50_000 },
    binary,
    xdsPort,
    onLine: () => {},
  });
  const ended = envoy.ended.then(() => {
    throw new Error("Envoy has ended");
  });
  await Promise.race([envoy.live, ended]);
  const probe = await Probe.open(httpPort);
  return {
    translator,
    cache,
    probe,
    httpsPort,
    backends,
    options,
    apply,
    counters: () => xds.counters(),
    stop: async () => {
      probe.close();
      await envoy.stop();
      await xds.stop();
      await Promise.all([a.stop(), b.stop()]);
      if (problems.length > 0) throw new Error(`Envoy refused something, or a bug: ${problems.join("; ")}`);
    },
  };
}

type Backend = { readonly port: number; readonly stop: () => Promise<void> };

async function startBackend(answer: string): Promise<Backend> {
  const server = createServer((_request, response) => {
    response.end(answer);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    stop: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
