import { setTimeout as delay } from "node:timers/promises";
import type { KubeObject } from "../../test/parts/kube-admin.ts";
import { Probe } from "../probe.ts";
import { EDITED, endpointsAt, fqdnOf, hostName, NEIGHBOUR, objectsOf, podAddress, refTo, routesOf } from "./objects.ts";
import { eachOf, type World } from "./world.ts";

/** Milliseconds from a change's being sent to the API server. */
export type Timing = {
  /** Until a client that watches has heard of it. */
  readonly toldMs: number;
  /** Until Envoy answers by it. */
  readonly servedMs: number;
};

export type Answer = { readonly status: number; readonly body: string };

type Scenario = {
  readonly name: string;
  readonly work: Work;
  /** Sends change number `i`; resolves to the time when the witness has heard of it. */
  readonly change: (i: number) => Promise<number>;
  /** Asks of host and path, and the answers before and after. */
  readonly asks: (i: number) => {
    readonly fqdn: string;
    readonly path: string;
    readonly before: Partial<Answer>;
    readonly after: Partial<Answer>;
  };
};

/** What one change may cost the controller. */
export type Work = { readonly hostsCompiled: number; readonly statusesWritten: number };

export type Result = {
  readonly name: string;
  readonly work: Work;
  readonly timings: readonly Timing[];
  /** Answers that are neither those before the change nor those after it. */
  readonly wrong: readonly Answer[];
};

const PATIENCE_MS = 30_000;
/** Once in a while before it can have been served, and then without a pause. */
const PAUSE_MS = 1;

/**
 * Does each kind of change `count` times, one after the other. `during` is told the name of each kind, and does all changes of
 * that kind, so that it can look at something before and after.
 */
export async function runScenarios(
  world: World,
  run: string,
  count: number,
  during: (work: () => Promise<Result>) => Promise<void>,
): Promise<void> {
  const probe = await Probe.open(world.envoyPort);
  const names = Array.from({ length: count }, (_, i) => `${run}-${i}`);
  // As it is when something is deployed: endpoints are there when traffic is led to them.
  const made = names.map((name, i) => objectsOf({ name, address: podAddress(EDITED + i) }));
  await eachOf(
    made.flatMap(({ others }) => others),
    (object) => world.admin.create(object),
  );
  for (const scenario of scenarios(
    world,
    names,
    made.map(({ root }) => root),
  )) {
    await during(() => runScenario(scenario, count, probe));
  }
  await eachOf(names, async (name) => {
    await world.admin.remove(refTo("Service", name));
    await world.admin.remove(refTo("EndpointSlice", name));
  });
  probe.close();
}

function scenarios(
  { admin, witness }: World,
  names: readonly string[],
  roots: readonly KubeObject[],
): readonly Scenario[] {
  const edited = hostName(EDITED);
  const heardOf = ({ metadata: { name, resourceVersion = "" } }: KubeObject) => witness.heardOf(name, resourceVersion);
  const isOdd = (i: number) => i % 2 === 1;
  const added = (i: number) => names[i] ?? "";
  return [
    {
      name: "POST of a root",
      work: { hostsCompiled: 1, statusesWritten: 1 },
      change: async (i) => heardOf(await admin.create(roots[i] ?? missing())),
      asks: (i) => ({ fqdn: fqdnOf(added(i)), path: "/", before: { status: 404 }, after: { status: 200 } }),
    },
    {
      name: "edit of a route",
      work: { hostsCompiled: 1, statusesWritten: 1 },
      change: async (i) => {
        const elsewhere = { match: "/probe", service: hostName(NEIGHBOUR) };
        const spec = { routes: routesOf(edited, isOdd(i) ? undefined : elsewhere) };
        return heardOf(await admin.patch(refTo("IngressRoute", edited), { spec }));
      },
      asks: (i) => {
        const answers = [EDITED, NEIGHBOUR].map((host) => ({ status: 200, body: podAddress(host) }));
        const [before = {}, after = {}] = isOdd(i) ? answers.reverse() : answers;
        return { fqdn: fqdnOf(edited), path: "/probe", before, after };
      },
    },
    {
      name: "change of an endpoint",
      work: { hostsCompiled: 0, statusesWritten: 0 },
      change: async (i) => {
        const endpoints = endpointsAt(podAddress(EDITED, !isOdd(i)));
        return heardOf(await admin.patch(refTo("EndpointSlice", edited), { endpoints }));
      },
      asks: (i) => {
        const answers = [false, true].map((isOther) => ({ status: 200, body: podAddress(EDITED, isOther) }));
        const [before = {}, after = {}] = isOdd(i) ? answers.reverse() : answers;
        return { fqdn: fqdnOf(edited), path: "/", before, after };
      },
    },
    {
      name: "removal of a root",
      work: { hostsCompiled: 1, statusesWritten: 0 },
      change: async (i) => {
        const heard = witness.heardOfEnd(added(i));
        await admin.remove(refTo("IngressRoute", added(i)));
        return heard;
      },
      asks: (i) => ({ fqdn: fqdnOf(added(i)), path: "/", before: { status: 200 }, after: { status: 404 } }),
    },
  ];
}

async function runScenario({ name, work, change, asks }: Scenario, count: number, probe: Probe): Promise<Result> {
  const timings: Timing[] = [];
  const wrong: Answer[] = [];
  for (let i = 0; i < count; i++) {
    const { fqdn, path, before, after } = asks(i);
    const start = performance.now();
    let toldAt: number | undefined;
    const told = change(i).then((atMs) => {
      toldAt = atMs;
    });
    for (;;) {
      const answer = await probe.ask(fqdn, path);
      if (is(answer, after)) break;
      if (!is(answer, before)) wrong.push(answer);
      if (performance.now() - start > PATIENCE_MS) throw new Error(`${name}: ${fqdn}${path} answers ${answer.status}`);
      if (toldAt === undefined) await delay(PAUSE_MS);
    }
    const servedMs = performance.now() - start;
    await told;
    timings.push({ toldMs: (toldAt ?? Number.NaN) - start, servedMs });
  }
  return { name, work, timings, wrong };
}

function is(answer: Answer, expected: Partial<Answer>): boolean {
  return answer.status === expected.status && (expected.body === undefined || expected.body === answer.body);
}

function missing(): never {
  throw new Error("there is no such object");
}
