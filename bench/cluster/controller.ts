import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { eventually } from "../../test/envoy/harness.ts";
import type { Work } from "./scenarios.ts";

/** The built program; benches are run from the folder of the project. */
const MAIN = "dist/main.js";
const START_MS = 60_000;
const STOP_MS = 5_000;
/** Of the times that the kernel tells. */
const TICK_MS = 10;

/** `isoline serve` as a process of its own, whose memory and processor time are nobody else's. */
export type ControllerProcess = {
  readonly xdsPort: number;
  /** Resolves to the milliseconds from its start until it had read everything. */
  readonly synced: () => Promise<number>;
  /** By `performance.now`. */
  readonly startedAt: number;
  /** The messages that it logged and that are more than information. */
  readonly complaints: () => readonly string[];
  readonly memory: () => Memory;
  /** Processor time so far, of all threads. */
  readonly cpuMs: () => number;
  /** What it has done so far, by its own metrics. */
  readonly work: () => Promise<Work>;
  readonly stop: () => Promise<void>;
};

/** Of physical memory, in MB: now, and the most that there ever was. */
export type Memory = { readonly rssMb: number; readonly peakMb: number };

type Line = { readonly level: number; readonly msg: string; readonly xds?: number; readonly http?: number };
type Told = { readonly line: Line; readonly atMs: number };

const WARNING = 40;
const STARTED = "started";
const SYNCED = "everything has been read, serving";

export async function startControllerProcess(
  kubeconfigFile: string,
  envoyHttpPort: number,
  flags: readonly string[] = [],
): Promise<ControllerProcess> {
  const ports = ["--xds-port", "0", "--http-port", "0", "--envoy-http-port", String(envoyHttpPort)];
  const envoy = ["--envoy-address", "127.0.0.1", "--envoy-access-log", "off"];
  const args = [MAIN, "serve", "--kubeconfig", kubeconfigFile, ...ports, ...envoy, "--log-format", "json", ...flags];
  const startedAt = performance.now();
  const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "pipe"] });
  const pid = child.pid ?? 0;
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const ended = once(child, "close");

  const told = new Map<string, Told>();
  const complaints: string[] = [];
  createInterface({ input: child.stderr }).on("line", (text) => {
    // There is a line for each root, which is not worth reading.
    if (text.includes(`"level":30`) && !text.includes(STARTED) && !text.includes(SYNCED)) return;
    const line = read(text);
    if (line.level >= WARNING) complaints.push(line.msg);
    else told.set(line.msg, { line, atMs: performance.now() });
  });
  const toldOf = (msg: string) =>
    eventually(() => {
      if (child.exitCode !== null) return told.get(msg) ?? { line: { level: 0, msg }, atMs: Number.NaN };
      return told.get(msg) ?? false;
    }, START_MS);
  const { xds: xdsPort, http: httpPort } = (await toldOf(STARTED)).line;
  if (xdsPort === undefined) throw new Error(`isoline serve does not start: ${complaints.join("\n")}`);
  return {
    xdsPort,
    startedAt,
    synced: async () => (await toldOf(SYNCED)).atMs - startedAt,
    complaints: () => complaints,
    memory: () => memoryOf(pid),
    cpuMs: () => cpuMsOf(pid),
    work: async () => {
      const text = await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).text();
      return {
        hostsCompiled: metricOf(text, "isoline_hosts_compiled"),
        // One that comes too late, as the next change is there, is refused and not written.
        statusesWritten: metricOf(text, `isoline_status_writes_total{result="written"}`),
      };
    },
    stop: async () => {
      child.kill("SIGTERM");
      const killing = setTimeout(kill, STOP_MS);
      await ended;
      clearTimeout(killing);
      process.off("exit", kill);
    },
  };
}

/** Node itself may have something to say as well. */
function read(text: string): Line {
  try {
    return JSON.parse(text);
  } catch {
    return { level: WARNING, msg: text };
  }
}

/** Of one that was never set there is nothing. */
function metricOf(metrics: string, name: string): number {
  const line = metrics.split("\n").find((text) => text.startsWith(`${name} `));
  return Number(line?.slice(name.length) ?? 0);
}

function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const mb = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) / 1024;
  return { rssMb: mb("VmRSS"), peakMb: mb("VmHWM") };
}

function cpuMsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name of the program, in parentheses, may hold blanks.
  const [, , , , , , , , , , , user = 0, system = 0] = stat
    .slice(stat.lastIndexOf(")") + 2)
    .split(" ")
    .map(Number);
  return (user + system) * TICK_MS;
}
