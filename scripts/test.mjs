// `npm test`: build, types, lint, then the tests; arguments go to vitest. The last line is always the count, which CI reads.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROJECT = fileURLToPath(new URL("..", import.meta.url));

const ready =
  succeeds(["scripts/generate-proto.mjs"]) &&
  succeeds(["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"]) &&
  succeeds(["node_modules/typescript/bin/tsc", "-p", "tsconfig.json"]) &&
  succeeds(["node_modules/@biomejs/biome/bin/biome", "check"]);
const { passed, failed, skipped } = ready ? runTests(process.argv.slice(2)) : { passed: 0, failed: 1, skipped: 0 };
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed === 0 ? 0 : 1;

function succeeds(args) {
  return spawnSync(process.execPath, args, { cwd: PROJECT, stdio: "inherit" }).status === 0;
}

function runTests(args) {
  const temp = mkdtempSync(join(tmpdir(), "isoline-test-"));
  try {
    const file = join(temp, "report.json");
    const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
    const succeeded = succeeds(["node_modules/vitest/vitest.mjs", "run", ...reporters, ...args]);
    return count(file, succeeded);
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
}

/** What went wrong outside of a test (a file that does not load, no test at all) counts as one failure. */
function count(file, succeeded) {
  let report;
  try {
    report = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    console.error(`no test report: ${error.message}`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  const passed = report.numPassedTests;
  const broken = !succeeded || passed === 0 ? 1 : 0;
  return {
    passed,
    failed: Math.max(report.numFailedTests, broken),
    skipped: report.numPendingTests + report.numTodoTests,
  };
}
