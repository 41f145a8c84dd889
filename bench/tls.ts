import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import type { ObjectChange } from "../src/api/kinds.ts";
import { createAuthority, type Identity } from "../test/parts/authority.ts";
import { endpoints, secret, service, tlsRoot, withoutRoot } from "./objects.ts";
import { Probe } from "./probe.ts";
import { pad, percentile, print, type Samples } from "./report.ts";
import { startWorld, type World } from "./world.ts";

const SAMPLES = 200;
const WARM_UP = 20;
/** Connections to hosts that no change is about. */
const OPEN_CONNECTIONS = 50;
const PATIENCE_MS = 30_000;

const HOST = "host-0";
const authority = createAuthority("bench");

type Scenario = {
  readonly name: string;
  /** Makes change number `i`, and a question that is true when it shows to a client. */
  readonly change: (i: number, world: World) => { readonly changes: readonly ObjectChange[]; readonly shows: Question };
  /** The types of what the change sends to Envoy: never a listener. */
  readonly sends: readonly string[];
};
type Question = (world: World, kept: Probe) => Promise<boolean>;
type FreshQuestion = (world: World) => Promise<boolean>;

const nameOf = (host: string) => `${host}.example.com`;
const identityOf = (host: string): Identity => authority.issue({ names: [nameOf(host)] });

/** On a new connection. */
const answers =
  (host: string, serial?: string): FreshQuestion =>
  async ({ httpsPort }) => {
    const probe = await Probe.openTls(httpsPort, nameOf(host)).catch(() => undefined);
    if (probe === undefined) return false;
    const presented = probe.serial;
    const { status } = await probe.ask(nameOf(host), "/");
    probe.close();
    return status === 200 && (serial === undefined || presented === serial);
  };

const isRefused =
  (host: string): FreshQuestion =>
  async ({ httpsPort }) => {
    const probe = await Probe.openTls(httpsPort, nameOf(host)).catch(() => undefined);
    probe?.close();
    return probe === undefined;
  };

const SCENARIOS: readonly Scenario[] = [
  {
    name: "edit a route of a TLS host",
    change: (i) => ({
      changes: [tlsRoot(HOST, HOST, i % 2 === 1 ? ["/probe"] : [])],
      shows: async (_, kept) => (await kept.ask(nameOf(HOST), "/probe")).status === (i % 2 === 1 ? 503 : 200),
    }),
    // That of the secure port: the insecure one redirects all of the host in one route.
    sends: ["scopedRoute"],
  },
  {
    name: "rotate a certificate",
    change: () => {
      const identity = identityOf(HOST);
      return { changes: [secret(HOST, identity)], shows: answers(HOST, serialOf(identity)) };
    },
    sends: ["secret"],
  },
  {
    name: "add a TLS host",
    change: (i, { backends }) => {
      const host = `new-${i}`;
      const changes = [tlsRoot(host, host), service(host), endpoints(host, backends.a), secret(host, identityOf(host))];
      return { changes, shows: answers(host) };
    },
    sends: ["cluster", "loadAssignment", "scopedRoute", "scopedRoute", "secret"],
  },
  {
    name: "remove a TLS host",
    change: (i) => ({ changes: [withoutRoot(`new-${i}`)], shows: isRefused(`new-${i}`) }),
    sends: [],
  },
];

/** Every host has a certificate and a key of its own. */
export async function benchTls(binary: string, sizes: readonly number[]): Promise<void> {
  console.log(
    `${SAMPLES} changes each with TLS, and ${OPEN_CONNECTIONS} connections open; milliseconds from apply to a client that sees it`,
  );
  const medians = new Map<string, { readonly hosts: number; readonly ms: number }[]>();
  for (const hosts of sizes) {
    const world = await startWorld(binary, ({ a }) => initialObjects(hosts, a));
    try {
      const others = await openConnections(world, hosts);
      for (const scenario of SCENARIOS) {
        const samples = await run(world, scenario, others);
        print(hosts, scenario.name, samples);
        medians.set(scenario.name, [
          ...(medians.get(scenario.name) ?? []),
          { hosts, ms: percentile(samples.total, 50) },
        ]);
      }
      for (const [host, probe] of others) {
        assert(probe.isOpen, `the connection to ${host} was closed`);
        assert.equal((await probe.ask(nameOf(host), "/")).status, 200);
        probe.close();
      }
      console.log(`${pad(hosts)}  none of the ${others.size} open connections was closed`);
    } finally {
      await world.stop();
    }
  }
  for (const [name, ofSizes] of medians) {
    const [smallest, largest] = [ofSizes[0], ofSizes.at(-1)];
    if (smallest === undefined || largest === undefined || smallest === largest) continue;
    console.log(
      `${name} at ${largest.hosts} hosts / at ${smallest.hosts}, p50: ${(largest.ms / smallest.ms).toFixed(2)}`,
    );
  }
}

async function run(world: World, scenario: Scenario, others: ReadonlyMap<string, Probe>): Promise<Samples> {
  const total: number[] = [];
  const core: number[] = [];
  let bytes = 0;
  const kept = await Probe.openTls(world.httpsPort, nameOf(HOST));
  const inTurn = [...others];
  for (let i = 1; i <= WARM_UP + SAMPLES; i++) {
    const { changes, shows } = scenario.change(i, world);
    const before = world.translator.work();
    const bytesBefore = world.counters().bytes;
    const start = performance.now();
    const delta = world.apply(changes);
    const applied = performance.now();
    while (!(await shows(world, kept))) {
      assert(performance.now() - start < PATIENCE_MS, `${scenario.name}: the change does not show`);
    }
    const shown = performance.now();
    const units = world.translator.work().unitsCompiled - before.unitsCompiled;
    const sends = delta.resources.set.map(({ type }) => type).sort();
    assert.deepEqual({ units, sends }, { units: 1, sends: scenario.sends }, `${scenario.name}: more than the host`);
    // In turn, each of them is asked again, on the connection that it has.
    const [host, other] = inTurn[i % inTurn.length] ?? [];
    if (host !== undefined) assert.equal((await other?.ask(nameOf(host), "/"))?.status, 200, `${host} does not answer`);
    if (i <= WARM_UP) continue;
    total.push(shown - start);
    core.push(applied - start);
    bytes += world.counters().bytes - bytesBefore;
  }
  kept.close();
  return { total, core, bytes: bytes / SAMPLES };
}

async function openConnections(world: World, hosts: number): Promise<ReadonlyMap<string, Probe>> {
  const probes = new Map<string, Probe>();
  // Envoy is live before it has the last of many hosts.
  const last = answers(`host-${hosts - 1}`);
  const start = performance.now();
  while (!(await last(world))) assert(performance.now() - start < PATIENCE_MS, "not everything is served");
  for (let i = 1; i <= Math.min(OPEN_CONNECTIONS, hosts - 1); i++) {
    const host = `host-${i}`;
    const probe = await Probe.openTls(world.httpsPort, nameOf(host));
    assert.equal((await probe.ask(nameOf(host), "/")).status, 200);
    probes.set(host, probe);
  }
  return probes;
}

function initialObjects(hosts: number, port: number): readonly ObjectChange[] {
  const objects: ObjectChange[] = [];
  for (let i = 0; i < hosts; i++) {
    const host = `host-${i}`;
    objects.push(tlsRoot(host, host), service(host), endpoints(host, port), secret(host, identityOf(host)));
  }
  return objects;
}

function serialOf({ certPem }: Identity): string {
  return new X509Certificate(certPem).serialNumber;
}
