import { printable } from "../api/printable.ts";
import { createLog } from "../controller/log.ts";
import type { RunningController } from "../controller/run.ts";
import type { EnvoyLimits } from "../envoy/bootstrap.ts";
import { FileSource } from "../sources/files.ts";
import type { SourceListener } from "../sources/source.ts";
import { EchoSource } from "./echo.ts";
import { type EnvoySearch, findEnvoy } from "./envoy-binary.ts";
import { startEnvoyProcess } from "./envoy-process.ts";
import { assertFree } from "./ports.ts";
import { type ControllerOptions, startController, untilToldToStop } from "./serve.ts";
import { Teller } from "./tell.ts";

export type DevOptions = ControllerOptions & {
  /** The folder that is served. */
  readonly files: string;
  /** Answer in place of every Service without endpoints. */
  readonly echo: boolean;
  readonly envoySearch: EnvoySearch;
  readonly envoyLimits: EnvoyLimits;
};

/** How much of Envoy's log is told when it has ended. */
const MAX_ENVOY_LINES = 20;

/** Serves a folder with an Envoy of its own and tells what happens, until it is told to stop. Returns the exit code. */
export async function dev(options: DevOptions): Promise<number> {
  const toldToStop = untilToldToStop();
  const { httpPort } = options.envoy;
  await assertFree(options.envoy.address, httpPort, "--envoy-http-port");
  await assertFree(options.envoy.address, options.envoy.httpsPort, "--envoy-https-port");
  const binary = await findEnvoy(options.envoySearch);

  const parts: { echo?: EchoSource; running?: RunningController; isLive?: true } = {};
  const write = (line: string) => process.stdout.write(`${line}\n`);
  const remark = ({ namespace, name }: { readonly namespace: string; readonly name: string }) =>
    parts.echo?.standsFor(namespace, name) ? " (echo)" : "";
  const teller = new Teller({ write, ports: options.envoy, remark, now: Date.now });
  const source = (listener: SourceListener) => {
    const toTeller = (inner: SourceListener): SourceListener => ({
      ...inner,
      changed: (batch) => {
        teller.notes(batch);
        inner.changed(batch);
      },
      problems: teller.problems.bind(teller),
    });
    if (!options.echo) return new FileSource([options.files], toTeller(listener));
    const files = (inner: SourceListener) => new FileSource([options.files], toTeller(inner));
    parts.echo = new EchoSource(files, listener, { tell: write });
    return parts.echo;
  };
  const log = createLog(options.log, (text) => process.stderr.write(text));
  const running = await startController(options, log, source, {
    onDelta: (delta) => {
      if (parts.isLive && parts.running !== undefined) teller.changes(parts.running, delta);
    },
  });
  parts.running = running;
  const envoyWords: string[] = [];
  const onLine = (line: string) => {
    log.info({ line }, "Envoy");
    envoyWords.push(line);
    if (envoyWords.length > MAX_ENVOY_LINES) envoyWords.shift();
  };
  const envoy = await startEnvoyProcess({ binary, xdsPort: running.xdsPort, limits: options.envoyLimits, onLine });

  const ended = envoy.ended.then(() => "ended" as const);
  const stopped = toldToStop.then(() => "stopped" as const);
  let state = await Promise.race([stopped, ended, envoy.live.then(() => "live" as const)]);
  if (state === "live") {
    parts.isLive = true;
    teller.everything(running);
    // A wildcard is no name to ask for.
    const host = running.controller.translator.hosts().find(({ name }) => !name.startsWith("*"))?.name;
    const url = `http://${urlHost(options.envoy.address)}:${httpPort}/`;
    write("");
    write(`Envoy serves ${options.files} on ${url}`);
    write(`The HTTP API is on http://${urlHost(options.http.address)}:${running.httpPort}/api/ingressroutes`);
    if (host !== undefined) write(`Try: curl -H 'Host: ${host}' ${url}`);
    write("Changes of the files take effect when they are saved. Ctrl-C ends it.");
    write("");
    state = await Promise.race([stopped, ended]);
  }
  if (state === "ended") for (const line of envoyWords) write(`envoy: ${printable(line)}`);
  write(state === "stopped" ? "stopping" : "Envoy has ended, which it should not: stopping");
  await envoy.stop();
  await running.stop();
  return state === "stopped" ? 0 : 1;
}

function urlHost(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}
