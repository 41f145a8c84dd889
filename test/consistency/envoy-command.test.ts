import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { deployed, deployFiles } from "../parts/deploy.ts";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
const FLUSH = "--file-flush-interval-msec";

/** The pages in the folder, by their path in the project. */
function pagesIn(folder: string): readonly string[] {
  const names = readdirSync(`${PROJECT}/${folder}`, { recursive: true, encoding: "utf8" });
  return names.filter((name) => name.endsWith(".md")).map((name) => `${folder}/${name}`);
}

/** All command lines that stand in a manifest: the lists named `command` and `args` of one container. */
function commandLines(value: unknown): readonly (readonly string[])[] {
  if (typeof value !== "object" || value === null) return [];
  const { command = [], args = [] } = value as { command?: unknown; args?: unknown };
  const words = [command, args].flat().map(String);
  const inner = Object.values(value).flatMap(commandLines);
  return words.length === 0 || Array.isArray(value) ? inner : [words, ...inner];
}

const isEnvoy = (words: readonly string[]) =>
  words.some((word) => ["-c", "--config-path"].includes(word.split("=")[0] ?? "")) &&
  words.some((word) => /envoy/.test(word));

/** Envoy keeps lines of its access log back for ten seconds otherwise, which no configuration can change. */
test("wherever an Envoy is started, its access log is at most a second behind", () => {
  const inText = ["README.md", ...["docs", "changes", "deploy"].flatMap(pagesIn)]
    .flatMap((file) => readFileSync(`${PROJECT}/${file}`, "utf8").match(/\benvoy (-c|--config-path) [^`\n]*/g) ?? [])
    .map((line) => line.split(/\s+/));
  const inManifests = deployFiles().flatMap(deployed).flatMap(commandLines).filter(isEnvoy);
  expect(inText.length).toBeGreaterThan(1);
  for (const words of [...inText, ...inManifests]) {
    const text = words.join(" ").replace(`${FLUSH}=`, `${FLUSH} `);
    const [, interval] = new RegExp(`${FLUSH} (\\d+)`).exec(text) ?? [];
    expect(Number(interval ?? Number.POSITIVE_INFINITY), text).toBeLessThanOrEqual(1000);
  }
});
