import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../dist/main.js", import.meta.url));

export type LogLine = { readonly level: number; readonly msg: string; readonly [field: string]: unknown };

/** The built `isoline serve` as a process of its own. */
export type Program = {
  readonly child: ChildProcess;
  /** What it has logged. */
  readonly lines: readonly LogLine[];
  /** Asks its own HTTP interface. */
  readonly get: (path: string) => Promise<{ readonly status: number; readonly text: string }>;
  /** Resolves when it has ended. */
  readonly end: (signal: "SIGTERM" | "SIGKILL") => Promise<{ readonly code: number | null }>;
};

/** On ports that are free. */
export function startProgram(env: Readonly<Record<string, string>>, ...args: readonly string[]): Program {
  const ports = ["--xds-port", "0", "--http-port", "0", "--log-format", "json"];
  const child = spawn(process.execPath, [MAIN, "serve", ...ports, ...args], {
    env: { PATH: process.env.PATH, ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  const lines: LogLine[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => lines.push(JSON.parse(line)));
  return {
    child,
    lines,
    get: async (path) => {
      const port = lines.find(({ msg }) => msg === "started")?.http;
      const answer = await fetch(`http://127.0.0.1:${port}${path}`);
      return { status: answer.status, text: await answer.text() };
    },
    end: async (signal) => {
      if (child.exitCode === null && child.signalCode === null) {
        const exited = once(child, "exit");
        child.kill(signal);
        await exited;
      }
      return { code: child.exitCode };
    },
  };
}
