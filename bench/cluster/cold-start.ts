import { type Envoy, eventually } from "../../test/envoy/harness.ts";
import { Probe } from "../probe.ts";
import type { ControllerProcess } from "./controller.ts";
import { fqdnOf, hostName } from "./objects.ts";
import type { World } from "./world.ts";

export type ColdStart = {
  readonly controller: ControllerProcess;
  readonly envoy: Envoy;
  /** From the start of the process until it had read everything, and until the new Envoy served all. */
  readonly syncedMs: number;
  readonly servedMs: number;
  /** Hosts that did not answer 200 when all were asked. */
  readonly failed: number;
};

/** So many of the hosts, evenly spread, stand for all while time counts. */
const SAMPLES = 50;
const CONNECTIONS = 4;
const PATIENCE_MS = 60_000;

/** Starts a controller and an Envoy on a cluster with so many hosts; resolves when all are served. */
export async function coldStart(world: World, hosts: number): Promise<ColdStart> {
  const controller = await world.startController();
  const envoy = await world.startEnvoy(controller);
  const syncedMs = await controller.synced();
  const probes = await Promise.all(Array.from({ length: CONNECTIONS }, () => Probe.open(world.envoyPort)));
  const step = Math.max(1, Math.floor(hosts / SAMPLES));
  await eventually(async () => (await countFailed(probes, hosts, step)) === 0, PATIENCE_MS);
  const servedMs = performance.now() - controller.startedAt;
  const failed = await countFailed(probes, hosts, 1);
  for (const probe of probes) probe.close();
  return { controller, envoy, syncedMs, servedMs, failed };
}

/** Asks every so manieth host, the last one among them. */
async function countFailed(probes: readonly Probe[], hosts: number, step: number): Promise<number> {
  let index = hosts - 1;
  let failed = 0;
  const asking = probes.map(async (probe) => {
    for (let i = index; i >= 0; i = index) {
      index -= step;
      const { status } = await probe.ask(fqdnOf(hostName(i)), "/");
      if (status !== 200) failed++;
    }
  });
  await Promise.all(asking);
  return failed;
}
