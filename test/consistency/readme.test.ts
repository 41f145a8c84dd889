import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const PROJECT = fileURLToPath(new URL("../..", import.meta.url));
const README = readFileSync(`${PROJECT}/README.md`, "utf8");
const COMMANDS = ["serve", "dev", "check", "translate", "bootstrap", "certgen"];
const help = (command: string) =>
  execFileSync(process.execPath, [`${PROJECT}/dist/main.js`, command, "--help"], { encoding: "utf8" });

/** The rows of the tables whose first cell holds code, as cells. */
const rows = README.split("\n")
  .filter((line) => line.startsWith("| `"))
  .map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );

test("the README names every command, and no other", () => {
  const named = rows.flatMap(([cell = ""]) => /^`isoline (\w+)/.exec(cell)?.[1] ?? []);
  expect(named.sort()).toEqual([...COMMANDS].sort());
});

test("every flag in the README exists, with the default that it says", () => {
  const helps = COMMANDS.map(help).join("\n");
  const flagRows = rows.filter(([cell = ""]) => cell.startsWith("`--"));
  expect(flagRows.length).toBeGreaterThan(5);
  for (const [flags = "", defaults = ""] of flagRows) {
    const names = [...flags.matchAll(/--([a-z-]+)/g)].map(([, name]) => name ?? "");
    const values = [...defaults.matchAll(/`([^`]+)`/g)]
      .map(([, value]) => value ?? "")
      .filter((value) => value !== "dev");
    for (const [i, name] of names.entries()) {
      const described = new RegExp(`--${name}\\b[^\\n]*(\\n {10,}[^-\\s][^\\n]*)*`, "g");
      const text = [...helps.matchAll(described)].map(([match]) => match.replace(/\s+/g, " ")).join("\n");
      expect(text, `--${name}`).not.toBe("");
      const value = values.find((candidate) => text.includes(`(default: ${candidate})`));
      if (values.length > i && !/^(any|off)/.test(defaults))
        expect(value, `default of --${name} in ${text}`).toBeDefined();
    }
  }
});

test("the README links to nothing that is not there", () => {
  for (const [, target = ""] of README.matchAll(/\]\((?!https?:)([^)#]+)/g)) {
    expect(existsSync(`${PROJECT}/${target}`), target).toBe(true);
  }
});

test("the README gives the two commands, which package.json has", () => {
  expect(README).toContain("npm ci && npm start");
  expect(README).toContain("npm ci && npm test");
  const { scripts } = JSON.parse(readFileSync(`${PROJECT}/package.json`, "utf8"));
  expect(scripts).toMatchObject({ start: expect.stringContaining("dev examples --echo"), test: expect.any(String) });
});

test("the README's walk through the examples is true of the example", () => {
  const example = readFileSync(`${PROJECT}/examples/delegation.yaml`, "utf8");
  const broken = example.replace("match: /guides/maps", "match: /charts");
  expect(broken).not.toBe(example);
  const told = /^default\/travel-guides: invalid: (.*) \(examples\/delegation.yaml:(\d+):(\d+)\)$/m.exec(README);
  const { status, stdout } = checkText(broken);
  expect(status).toBe(1);
  expect(stdout.split("\n")).toContain(`(stdin):${told?.[2]}:${told?.[3]}: ${told?.[1]}`);
});

function checkText(input: string): { readonly status: number; readonly stdout: string } {
  try {
    const stdout = execFileSync(process.execPath, [`${PROJECT}/dist/main.js`, "check", "-"], {
      input,
      encoding: "utf8",
    });
    return { status: 0, stdout };
  } catch (error) {
    const { status, stdout } = error as { status: number; stdout: string };
    return { status, stdout };
  }
}
