import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const MAIN = fileURLToPath(new URL("../../dist/main.js", import.meta.url));

export type Ran = { readonly code: number | null; readonly stdout: string; readonly stderr: string };

/** Runs the built program to its end. */
export function isoline(
  args: readonly string[],
  { cwd, input = "", env = {} }: { cwd?: string; input?: string; env?: Readonly<Record<string, string>> } = {},
): Ran {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
    ...(cwd === undefined ? {} : { cwd }),
    input,
    encoding: "utf8",
    env: { PATH: process.env.PATH, ...env },
    timeout: 15_000,
  });
  return { code: status, stdout, stderr };
}
