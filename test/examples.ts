import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import { type ExpectedRequest, readRequests } from "./cases.ts";

/** One file of examples/. */
export type Example = { readonly file: string; readonly text: string; readonly requests: readonly ExpectedRequest[] };

const EXAMPLES = fileURLToPath(new URL("../examples", import.meta.url));

/** What each example shows, by file; not yet read. */
export const EXAMPLE_REQUESTS: Readonly<Record<string, unknown>> = parse(
  readFileSync(new URL("examples.yaml", import.meta.url), "utf8"),
);

export function loadExamples(): readonly Example[] {
  return readdirSync(EXAMPLES)
    .sort()
    .map((file) => {
      const text = readFileSync(`${EXAMPLES}/${file}`, "utf8");
      return { file, text, requests: readRequests(file, EXAMPLE_REQUESTS[file]) };
    });
}
