import { buffer } from "node:stream/consumers";
import { type ReadObjects, readPaths } from "../sources/read-paths.ts";
import { UsageError } from "./flags.ts";

/** Reads what a command was given: files, folders, and "-" for standard input. */
export async function readInput(paths: readonly string[]): Promise<ReadObjects> {
  const stdin = paths.includes("-") ? await buffer(process.stdin) : undefined;
  const read = await readPaths(
    paths.filter((path) => path !== "-"),
    stdin,
  );
  const [missing] = read.missing;
  if (missing !== undefined) throw new UsageError(`${missing.path} ${missing.why}`);
  return read;
}
