/**
 * What a user of a cluster sees: `isoline serve`, as it is built, on a real API server, with a real Envoy. Every figure stands
 * beside what the API server itself took in the same run. What counts are the differences; errors, of which there may be
 * none; and work, which may be no more than what was changed.
 *
 * `npm run bench:cluster [-- ROOTS...]`
 */
import { loadavg } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import { eventually } from "../test/envoy/harness.ts";
import { Churn, type ChurnReport } from "./cluster/churn.ts";
import { type ColdStart, coldStart } from "./cluster/cold-start.ts";
import type { Memory } from "./cluster/controller.ts";
import { hostName, refTo, routesOf } from "./cluster/objects.ts";
import { type Result, runScenarios, type Work } from "./cluster/scenarios.ts";
import { eachOf, startWorld, type World } from "./cluster/world.ts";
import { percentile } from "./report.ts";

/** Of each kind of change. */
const CHANGES = 200;
const COLD_STARTS = 3;
const STATUSES = 1000;
const STATUSES_MS = 60_000;
/** A start is over so long after everything is served. */
const START_MS = 12_000;
/** Beyond what the API server takes itself, at 10,000 roots. */
const AIM = { p50Ms: 3, p99Ms: 10, coldStartS: 3, rssMb: 200 };

async function main(): Promise<void> {
  const named = process.argv.slice(2).map(Number);
  const sizes = (named.length > 0 ? named : [100, 1000, 10_000]).sort((a, b) => a - b);
  if (sizes.some((roots) => !Number.isInteger(roots) || roots < 3)) throw new Error("sizes are whole numbers from 3");
  const { ENVOY_BIN: binary } = process.env;
  if (binary === undefined) throw new Error("there is no Envoy; see the message above");
  const world = await startWorld(binary);
  let errors = 0;
  for (const roots of sizes) errors += await bench(world, roots);
  await world.stop();
  console.log(`\n${errors} errors`);
  if (errors > 0) process.exitCode = 1;
}

/** Returns how much went wrong. */
async function bench(world: World, roots: number): Promise<number> {
  await world.growTo(roots);
  const [load = 0] = loadavg();
  console.log(`\n${roots} roots, each with its Service and EndpointSlice; load of the machine: ${load.toFixed(1)}`);
  let errors = 0;
  const count = (what: string, found: number) => {
    errors += found;
    if (found > 0) console.log(`  ERROR: ${found} ${what}`);
  };

  const starts: ColdStart[] = [];
  for (let i = 1; ; i++) {
    const start = await coldStart(world, roots);
    starts.push(start);
    count("hosts are not served after a cold start", start.failed);
    if (i === COLD_STARTS) break;
    await stop(start);
  }
  const last = starts.at(-1);
  if (last === undefined) throw new Error("nothing was started");
  const { controller, envoy } = last;
  const median = (pick: (start: ColdStart) => number) => percentile(starts.map(pick), 50) / 1000;
  const servedS = median(({ servedMs }) => servedMs);
  console.log(
    `cold start, median of ${COLD_STARTS}: everything is read ${median(({ syncedMs }) => syncedMs).toFixed(2)} s and served ${servedS.toFixed(2)} s after the start of the process`,
  );
  const { statusesWritten } = await controller.work();
  console.log(`  statuses written at the start, all of which stood there before: ${statusesWritten}`);
  const memoryServed = controller.memory();
  // Then the controller collects what its start has left: see src/cli/small-heap.ts.
  await delay(START_MS);
  const memoryAtRest = controller.memory();

  const expense = () => expenseSoFar(world, last);
  console.log(HEAD);
  const results: Result[] = [];
  await runScenarios(world, `quiet-${roots}`, CHANGES, async (run) => {
    const before = await expense();
    const result = await run();
    const spent = difference(await expense(), before);
    results.push(result);
    console.log(rowOf(result) + expenseOf(spent, CHANGES));
    count("answers were neither the old one nor the new one", result.wrong.length);
    count("hosts were compiled for nothing", excess(spent.hostsCompiled, CHANGES * result.work.hostsCompiled));
    count("statuses were written for nothing", excess(spent.statusesWritten, CHANGES * result.work.statusesWritten));
  });

  console.log("under 50 changes of endpoints and 2 of roots a second:");
  const before = await expense();
  const churn = new Churn(world, roots);
  const owed = { hostsCompiled: 0, statusesWritten: 0 };
  await runScenarios(world, `busy-${roots}`, CHANGES, async (run) => {
    const result = await run();
    console.log(rowOf(result));
    owed.hostsCompiled += CHANGES * result.work.hostsCompiled;
    owed.statusesWritten += CHANGES * result.work.statusesWritten;
    count("answers were neither the old one nor the new one", result.wrong.length);
  });
  const report = await churn.stop();
  const spent = difference(await expense(), before);
  printChurn(report, spent);
  count(`requests failed, the first with ${JSON.stringify(report.failed[0])}`, report.failed.length);
  count("changes of endpoints were lost", report.lost.length);
  count("hosts were compiled for nothing", excess(spent.hostsCompiled, owed.hostsCompiled + report.rootChanges));
  count("statuses were written for nothing", excess(spent.statusesWritten, owed.statusesWritten + report.rootChanges));

  const statuses = Math.min(STATUSES, roots);
  const written = await statusesAtOnce(last, world, { roots: statuses, timeout: `${roots}s` });
  count("statuses were written for nothing", excess(written, statuses));
  const memory = controller.memory();
  console.log(
    `memory: ${mb(memoryServed)} MB when all was served, ${mb(memoryAtRest)} MB at rest, ${mb(memory)} MB now, ${memory.peakMb.toFixed(0)} MB at most`,
  );
  for (const [message, times] of countEach(controller.complaints())) console.log(`logged ${times} times: ${message}`);
  count("responses were refused by Envoy", await envoy.rejected());
  await stop(last);

  const [post] = results;
  const [p50 = Number.NaN, p99 = Number.NaN] = post === undefined ? [] : percentiles(afterBeingTold(post));
  console.log(
    [
      "figure (aim):",
      `POST -> served, after being told, p50 ${p50.toFixed(1)} (${AIM.p50Ms}) ms, p99 ${p99.toFixed(1)} (${AIM.p99Ms}) ms;`,
      `cold start ${servedS.toFixed(2)} (${AIM.coldStartS}) s; memory ${mb(memory)} (${AIM.rssMb}) MB; errors ${errors} (0)`,
    ].join(" "),
  );
  return errors;
}

async function stop({ controller, envoy }: ColdStart): Promise<void> {
  await envoy.stop();
  await controller.stop();
}

type Expense = Work & { readonly bytes: number; readonly cpuMs: number };

/** When all statuses are written that have to be. */
async function expenseSoFar({ witness }: World, { controller, envoy }: ColdStart): Promise<Expense> {
  await eventually(() => witness.untold === 0, STATUSES_MS);
  const [bytes = 0] = (await envoy.stats("^cluster\\.xds\\.upstream_cx_rx_bytes_total$")).values();
  return { ...(await controller.work()), bytes, cpuMs: controller.cpuMs() };
}

function difference(after: Expense, before: Expense): Expense {
  return {
    hostsCompiled: after.hostsCompiled - before.hostsCompiled,
    statusesWritten: after.statusesWritten - before.statusesWritten,
    bytes: after.bytes - before.bytes,
    cpuMs: after.cpuMs - before.cpuMs,
  };
}

function excess(found: number, allowed: number): number {
  return Math.max(0, found - allowed);
}

const HEAD: string = [
  "milliseconds: p50, p99".padEnd(24),
  ...["API server tells", "Envoy serves", "after being told"].map((title) => title.padStart(18)),
  ...["bytes to Envoy", "CPU ms", "compiled", "statuses"].map((title) => title.padStart(title.length + 2)),
].join("");

function rowOf(result: Result): string {
  const told = result.timings.map(({ toldMs }) => toldMs);
  const served = result.timings.map(({ servedMs }) => servedMs);
  const columns = [told, served, afterBeingTold(result)].flatMap(percentiles);
  return result.name.padEnd(24) + columns.map((ms) => ms.toFixed(1).padStart(9)).join("");
}

function afterBeingTold({ timings }: Result): readonly number[] {
  return timings.map(({ toldMs, servedMs }) => servedMs - toldMs);
}

function percentiles(samples: readonly number[]): readonly number[] {
  return [50, 99].map((percent) => percentile(samples, percent));
}

/** For each change. */
function expenseOf({ bytes, cpuMs, hostsCompiled, statusesWritten }: Expense, changes: number): string {
  return [
    (bytes / changes).toFixed(0).padStart(16),
    (cpuMs / changes).toFixed(1).padStart(8),
    (hostsCompiled / changes).toFixed(2).padStart(10),
    (statusesWritten / changes).toFixed(2).padStart(10),
  ].join("");
}

function printChurn(report: ChurnReport, { cpuMs, bytes }: Expense): void {
  const { seconds, endpointChanges, rootChanges, requests, failed } = report;
  const perSecond = (value: number) => (value / seconds).toFixed(0);
  console.log(
    `  within ${seconds.toFixed(0)} s ${endpointChanges} changes of endpoints and ${rootChanges} of roots; of ${requests} requests to them ${failed.length} failed; ` +
      `${perSecond(cpuMs / 10)} % of a processor, ${perSecond(bytes / 1000)} kB/s to Envoy`,
  );
}

/**
 * Gives many roots at once a timeout that none of them has: each has a status to be written then. Returns how many were
 * written.
 */
async function statusesAtOnce(
  { controller }: ColdStart,
  { admin, witness }: World,
  { roots, timeout }: { readonly roots: number; readonly timeout: string },
): Promise<number> {
  const { statusesWritten: before } = await controller.work();
  const names = Array.from({ length: roots }, (_, i) => hostName(i));
  const start = performance.now();
  await eachOf(names, async (name) => {
    const timeoutPolicy = { request: timeout };
    const routes = routesOf(name).map((route) => ({ ...Object(route), timeoutPolicy }));
    const { metadata } = await admin.patch(refTo("IngressRoute", name), { spec: { routes } });
    await witness.heardOf(name, metadata.resourceVersion ?? "");
  });
  const editedS = (performance.now() - start) / 1000;
  await eventually(() => witness.untold === 0, STATUSES_MS);
  const writtenS = (performance.now() - start) / 1000;
  const written = (await controller.work()).statusesWritten - before;
  console.log(
    `${roots} roots edited within ${editedS.toFixed(1)} s: ${written} statuses written within ${writtenS.toFixed(1)} s, ${(written / writtenS).toFixed(0)} a second`,
  );
  return written;
}

function mb({ rssMb }: Memory): string {
  return rssMb.toFixed(0);
}

function countEach(texts: readonly string[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const text of texts) counts.set(text, (counts.get(text) ?? 0) + 1);
  return counts;
}

await main();
