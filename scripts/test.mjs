// `npm test`: build, types, lint, then the tests in both their places; arguments go to vitest. The last line is always the
// count, which CI reads.
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { ClusterUnavailable, prepareCluster } from "./cluster.mjs";

const PROJECT = fileURLToPath(new URL("..", import.meta.url));
/** The tests that run in a network of their own, with an API server. */
const CLUSTER = "test/cluster/";
/** Options whose value, the next argument, could be taken for the path of a test. */
const NAME_OPTIONS = ["-t", "--testNamePattern"];

const args = process.argv.slice(2);
/** Whether this machine cannot run the tests with an API server. */
let isSkipped = false;
const ready =
  succeeds(["scripts/generate-proto.mjs"]) &&
  succeeds(["node_modules/typescript/bin/tsc", "-p", "tsconfig.build.json"]) &&
  succeeds(["node_modules/typescript/bin/tsc", "-p", "tsconfig.json"]) &&
  succeeds(["node_modules/@biomejs/biome/bin/biome", "check"]);
const counts = ready ? await runTests() : [{ passed: 0, failed: 1, skipped: 0 }];
const sum = (name) => counts.reduce((total, count) => total + count[name], 0);
const passed = sum("passed");
// A name or path that no test has is a mistake, even if it is no failure for vitest.
const failed = sum("failed") || (passed === 0 && !isSkipped ? 1 : 0);
console.log(`${passed} passed, ${failed} failed, ${sum("skipped")} skipped`);
process.exitCode = failed === 0 ? 0 : 1;

function succeeds(nodeArgs) {
  return spawnSync(process.execPath, nodeArgs, { cwd: PROJECT, stdio: "inherit" }).status === 0;
}

async function runTests() {
  const { here, inCluster } = places();
  const results = [];
  if (here) results.push(runVitest(succeeds, []));
  if (inCluster) results.push(await runClusterTests());
  return results;
}

/** Where there are tests that the arguments ask for. Paths that match none are for vitest to complain of. */
function places() {
  const wanted = args
    .filter((arg, at) => !arg.startsWith("-") && !NAME_OPTIONS.includes(args[at - 1]))
    .map((path) => path.replace(/^\.\//, "").replace(/:\d+$/, ""));
  const files = readdirSync(join(PROJECT, "test"), { recursive: true })
    .map((file) => `test/${file}`)
    .filter((file) => file.endsWith(".test.ts") && wanted.some((path) => file.includes(path)));
  if (files.length === 0) return { here: true, inCluster: wanted.length === 0 };
  return {
    here: files.some((file) => !file.startsWith(CLUSTER)),
    inCluster: files.some((file) => file.startsWith(CLUSTER)),
  };
}

/** A machine that cannot run an API server skips them, as one test; in CI that is a failure. */
async function runClusterTests() {
  let runInside;
  try {
    runInside = await prepareCluster();
  } catch (error) {
    if (!(error instanceof ClusterUnavailable)) throw error;
    isSkipped = process.env.CI !== "true";
    console.error(`\n!!! THE TESTS IN A CLUSTER ${isSkipped ? "ARE SKIPPED" : "FAIL"}: ${error.message}\n`);
    return { passed: 0, failed: isSkipped ? 0 : 1, skipped: isSkipped ? 1 : 0 };
  }
  const run = (nodeArgs) => runInside([process.execPath, ...nodeArgs]) === 0;
  return runVitest(run, ["--config", "vitest.cluster.config.ts"]);
}

/** Runs the tests by `run`, which tells whether a Node with these arguments succeeded, and counts them. */
function runVitest(run, options) {
  const temp = mkdtempSync(join(tmpdir(), "isoline-test-"));
  try {
    const file = join(temp, "report.json");
    const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
    const succeeded = run(["node_modules/vitest/vitest.mjs", "run", ...options, ...reporters, ...args]);
    return count(file, succeeded);
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
}

/** What went wrong outside of a test (a file that does not load, no file at all) counts as one failure. */
function count(file, succeeded) {
  let report;
  try {
    report = JSON.parse(readFileSync(file, "utf8"));
  } catch (error) {
    console.error(`no test report: ${error.message}`);
    return { passed: 0, failed: 1, skipped: 0 };
  }
  return {
    passed: report.numPassedTests,
    failed: Math.max(report.numFailedTests, succeeded ? 0 : 1),
    skipped: report.numPendingTests + report.numTodoTests,
  };
}
