/**
 * From a change to the answer that shows it: `Translator.apply`, xDS, a real Envoy, and a client that asks all the time.
 * Every figure comes from one run on one machine; what counts are the ratios, and the counters, which are asserted.
 *
 * `npm run bench [-- [http] [tls] HOSTS...]`
 */
import assert from "node:assert/strict";
import type { ObjectChange } from "../src/api/kinds.ts";
import { envoySearch, findEnvoy } from "../src/cli/envoy-binary.ts";
import { translate } from "../src/translate/translate.ts";
import { endpoints, root, service, withoutRoot } from "./objects.ts";
import { pad, percentile, print, type Samples } from "./report.ts";
import { benchTls } from "./tls.ts";
import { startWorld, type World } from "./world.ts";

const SAMPLES = 300;
/** A full rebuild takes a second at 10,000 hosts. */
const REBUILD_SAMPLES = 20;
const WARM_UP = 30;
const HOST = "host-0";
const AUTHORITY = `${HOST}.example.com`;

type Work = { readonly units: number; readonly resources: number };
type Scenario = {
  readonly name: string;
  /** Makes change number `i`, and how its answer shows. */
  readonly change: (i: number, world: World) => readonly ObjectChange[];
  readonly shows: (i: number) => {
    readonly host: string;
    readonly path: string;
    readonly status: number;
    readonly body?: string;
  };
  /** What the change may cost, in the translator. */
  readonly work: (i: number) => Work;
};

const odd = (i: number) => i % 2 === 1;

const SCENARIOS: readonly Scenario[] = [
  {
    name: "edit a route",
    change: (i) => [root(HOST, HOST, odd(i) ? ["/probe"] : [])],
    shows: (i) => ({ host: AUTHORITY, path: "/probe", status: odd(i) ? 503 : 200 }),
    work: () => ({ units: 1, resources: 1 }),
  },
  {
    name: "switch to another service",
    change: (i) => [root(HOST, odd(i) ? "other" : HOST)],
    shows: (i) => ({ host: AUTHORITY, path: "/", status: 200, body: odd(i) ? "b" : "a" }),
    // The scope, and a cluster with its load assignment that was not there before.
    work: () => ({ units: 1, resources: 3 }),
  },
  {
    name: "change an endpoint",
    change: (i, { backends }) => [endpoints(HOST, odd(i) ? backends.b : backends.a)],
    shows: (i) => ({ host: AUTHORITY, path: "/", status: 200, body: odd(i) ? "b" : "a" }),
    work: () => ({ units: 0, resources: 1 }),
  },
  {
    name: "add a host",
    change: (i, { backends }) => [root(`new-${i}`, `new-${i}`), service(`new-${i}`), endpoints(`new-${i}`, backends.a)],
    shows: (i) => ({ host: `new-${i}.example.com`, path: "/", status: 200 }),
    work: () => ({ units: 1, resources: 3 }),
  },
  {
    name: "remove a host",
    change: (i) => [withoutRoot(`new-${i}`)],
    shows: (i) => ({ host: `new-${i}.example.com`, path: "/", status: 404 }),
    work: () => ({ units: 1, resources: 0 }),
  },
];

async function main(): Promise<void> {
  const named = process.argv.slice(2);
  const parts = named.filter((word) => word === "http" || word === "tls");
  const numbers = named.map(Number).filter((hosts) => !Number.isNaN(hosts));
  const sizes = numbers.length > 0 ? numbers : [100, 1000, 10_000];
  const binary = await findEnvoy(envoySearch(process.env, undefined, console.error));
  if (parts.length === 0 || parts.includes("http")) await benchHttp(binary, sizes);
  if (parts.length === 0 || parts.includes("tls")) await benchTls(binary, sizes);
}

async function benchHttp(binary: string, sizes: readonly number[]): Promise<void> {
  console.log(
    `${SAMPLES} changes each (full rebuild: ${REBUILD_SAMPLES}); milliseconds from apply to the answer that shows it`,
  );
  const edits = new Map<number, number>();
  for (const hosts of sizes) {
    const world = await startWorld(binary, ({ a, b }) => initialObjects(hosts, a, b));
    try {
      for (const scenario of SCENARIOS) {
        const samples = await run(world, scenario);
        if (scenario.name === "edit a route") edits.set(hosts, percentile(samples.total, 50));
        print(hosts, scenario.name, samples);
      }
      const rebuild = await runFullRebuild(world, hosts);
      print(hosts, "edit a route, full rebuild", rebuild);
      const ratio = percentile(rebuild.total, 50) / (edits.get(hosts) ?? Number.NaN);
      console.log(`${pad(hosts)}  full rebuild / Isoline, p50: ${ratio.toFixed(1)}`);
    } finally {
      await world.stop();
    }
  }
  const [smallest = 0, largest = 0] = [Math.min(...sizes), Math.max(...sizes)];
  const growth = (edits.get(largest) ?? 0) / (edits.get(smallest) ?? 0);
  console.log(`edit a route at ${largest} hosts / at ${smallest}, p50: ${growth.toFixed(2)}`);
}

/** Applies the changes one by one and asks until the answer shows each. Throws when one cost more than it may. */
async function run(world: World, scenario: Scenario): Promise<Samples> {
  const total: number[] = [];
  const core: number[] = [];
  let bytes = 0;
  for (let i = 1; i <= WARM_UP + SAMPLES; i++) {
    const changes = scenario.change(i, world);
    const before = world.translator.work();
    const bytesBefore = world.counters().bytes;
    const start = performance.now();
    world.apply(changes);
    const applied = performance.now();
    await untilShown(world, scenario.shows(i));
    const shown = performance.now();
    const after = world.translator.work();
    assert.deepEqual(
      {
        units: after.unitsCompiled - before.unitsCompiled,
        resources: after.resourcesEncoded - before.resourcesEncoded,
      },
      scenario.work(i),
      `${scenario.name}: more work than the hosts concerned`,
    );
    if (i <= WARM_UP) continue;
    total.push(shown - start);
    core.push(applied - start);
    bytes += world.counters().bytes - bytesBefore;
  }
  return { total, core, bytes: bytes / SAMPLES };
}

/** The same code used as others are built: every change translates everything, and every resource is compared. */
async function runFullRebuild(world: World, hosts: number): Promise<Samples> {
  const total: number[] = [];
  const core: number[] = [];
  const bytesBefore = world.counters().bytes;
  const objects = new Map(
    initialObjects(hosts, world.backends.a, world.backends.b).map((change) => [change.key, change]),
  );
  const edit = SCENARIOS[0];
  assert(edit !== undefined);
  for (let i = 1; i <= REBUILD_SAMPLES; i++) {
    const start = performance.now();
    for (const change of edit.change(i, world)) objects.set(change.key, change);
    const { resources } = translate(objects.values(), world.options);
    world.cache.apply({ set: resources, removed: [] });
    core.push(performance.now() - start);
    await untilShown(world, edit.shows(i));
    total.push(performance.now() - start);
  }
  return { total, core, bytes: (world.counters().bytes - bytesBefore) / REBUILD_SAMPLES };
}

async function untilShown({ probe }: World, expected: ReturnType<Scenario["shows"]>): Promise<void> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    const { status, body } = await probe.ask(expected.host, expected.path);
    if (status === expected.status && (expected.body === undefined || body === expected.body)) return;
    if (performance.now() > deadline) throw new Error(`${expected.host}${expected.path} answers ${status} ${body}`);
  }
}

function initialObjects(hosts: number, a: number, b: number): readonly ObjectChange[] {
  const objects: ObjectChange[] = [service("other"), endpoints("other", b)];
  for (let i = 0; i < hosts; i++)
    objects.push(root(`host-${i}`, `host-${i}`), service(`host-${i}`), endpoints(`host-${i}`, a));
  return objects;
}

await main();
