import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { bootstrap, type EnvoyLimits } from "../envoy/bootstrap.ts";

const POLL_MS = 20;
const STOP_MS = 5000;

export type EnvoyProcess = {
  /** Resolves when Envoy is live, with all listeners it has been sent; never, when it ends before that. */
  readonly live: Promise<void>;
  /** Resolves when the process is gone, for whatever reason. */
  readonly ended: Promise<void>;
  readonly stop: () => Promise<void>;
};

/** Starts an Envoy that is configured by the controller on this machine. Its admin interface is a Unix socket that only this user can reach. */
export async function startEnvoyProcess(options: {
  readonly binary: string;
  readonly xdsPort: number;
  readonly limits: EnvoyLimits;
  /** Told each line that Envoy logs. Its access log, if it writes one, goes to the standard output. */
  readonly onLine: (line: string) => void;
}): Promise<EnvoyProcess> {
  // Made with mode 0700.
  const folder = await mkdtemp(join(tmpdir(), "isoline-envoy-"));
  const pipe = join(folder, "admin.sock");
  const { xdsPort, limits } = options;
  const config = bootstrap({ xdsAddress: "127.0.0.1", xdsPort, admin: { pipe }, limits, nodeId: "dev" });
  const configFile = join(folder, "envoy.json");
  await writeFile(configFile, JSON.stringify(config));
  const flags = ["--concurrency", "2", "--disable-hot-restart", "--drain-time-s", "1", "--log-level", "warning"];
  // By default a line of the access log may wait for ten seconds.
  const flush = ["--file-flush-interval-msec", "200"];
  const child = spawn(options.binary, ["--config-path", configFile, ...flags, ...flush], {
    stdio: ["ignore", "inherit", "pipe"],
    // In a process group of its own: a Ctrl-C on the terminal is for this process, which then stops Envoy.
    detached: true,
  });
  const ended = new Promise<void>((resolve) => {
    child.once("error", (error) => {
      options.onLine(`Envoy cannot be started: ${error.message}`);
      resolve();
    });
    child.once("close", () => resolve());
  });
  splitLines(child, options.onLine);
  // Should this process die without a chance to stop it, by an uncaught error say.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  return {
    ended,
    live: becomesLive(ended, pipe),
    stop: async () => {
      child.kill("SIGTERM");
      const force = setTimeout(kill, STOP_MS);
      await ended;
      clearTimeout(force);
      process.off("exit", kill);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function splitLines(child: ChildProcess, onLine: (line: string) => void): void {
  let rest = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    const lines = `${rest}${text}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) onLine(line);
  });
}

async function becomesLive(ended: Promise<void>, pipe: string): Promise<void> {
  let hasEnded = false;
  const end = ended.then(() => {
    hasEnded = true;
  });
  while ((await readiness(pipe)) !== "LIVE") {
    await Promise.race([end, delay(POLL_MS)]);
    if (hasEnded) await new Promise<never>(() => {});
  }
}

/** What the admin interface says of Envoy's state; empty when it does not answer yet. */
async function readiness(pipe: string): Promise<string> {
  const asked = request({ socketPath: pipe, path: "/ready", agent: false });
  asked.end();
  try {
    const [response] = await once(asked, "response");
    response.setEncoding("utf8");
    let body = "";
    for await (const text of response) body += text;
    return body.trim();
  } catch (error) {
    // Before Envoy has opened its socket; anything else is worth knowing.
    if (
      error instanceof Error &&
      "code" in error &&
      ["ENOENT", "ECONNREFUSED", "ECONNRESET"].includes(String(error.code))
    )
      return "";
    throw error;
  }
}
