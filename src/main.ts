#!/usr/bin/env node
import { readFileSync } from "node:fs";
import { EnvoyUnavailable } from "./cli/envoy-binary.ts";
import { UsageError } from "./cli/flags.ts";
import { type CommandLine, readCommandLine } from "./cli/options.ts";
import { AccessError } from "./kube/access.ts";

// A reader such as `head` that has seen enough is no failure.
process.stdout.on("error", (error) => {
  if (!("code" in error) || error.code !== "EPIPE") throw error;
  process.exit();
});

try {
  process.exitCode = await run(readCommandLine(process.argv.slice(2), version()));
} catch (error) {
  const told = exitOf(error);
  if (told === undefined) throw error;
  process.stderr.write(`isoline: ${told.message.replace(/\s*\n\s*/g, " ")}\n`);
  process.exitCode = told.code;
}

/** Commands are loaded when they are wanted: `check` needs no gRPC. */
async function run(chosen: CommandLine): Promise<number> {
  switch (chosen.command) {
    case "serve":
      await (await import("./cli/serve.ts")).serve(chosen.options);
      return 0;
    case "dev":
      return (await import("./cli/dev.ts")).dev(chosen.options);
    case "bootstrap":
      return (await import("./cli/bootstrap.ts")).run(chosen.options);
    case "certgen":
      return (await import("./cli/certgen.ts")).run(chosen.options);
    case "check":
      return (await import("./cli/check.ts")).run(chosen.options);
    case "translate":
      return (await import("./cli/translate.ts")).run(chosen.options);
    case "none":
      return 0;
  }
}

/** What to tell of an error that is no bug. 2 is for what the command line says, 1 for what came of it. */
function exitOf(error: unknown): { readonly code: number; readonly message: string } | undefined {
  if (error instanceof UsageError) return { code: 2, message: error.message };
  if (error instanceof AccessError) return { code: 1, message: error.message };
  if (error instanceof EnvoyUnavailable) return { code: 1, message: error.message };
  // By name, as the class comes with all of gRPC.
  if (error instanceof Error && error.name === "AddressInUseError") return { code: 1, message: error.message };
  // Of the system, such as a file that cannot be written; these name what they are about.
  if (error instanceof Error && "syscall" in error) return { code: 1, message: error.message };
  return undefined;
}

function version(): string {
  const { version }: { version: string } = JSON.parse(
    readFileSync(new URL("../package.json", import.meta.url), "utf8"),
  );
  return version;
}
