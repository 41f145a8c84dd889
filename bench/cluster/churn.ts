import { setTimeout as delay } from "node:timers/promises";
import { Probe } from "../probe.ts";
import { EDITED, endpointsAt, fqdnOf, hostName, NEIGHBOUR, podAddress, refTo, routesOf } from "./objects.ts";
import type { Answer } from "./scenarios.ts";
import type { World } from "./world.ts";

const ENDPOINT_CHANGES_PER_SECOND = 50;
const ROOT_CHANGES_PER_SECOND = 2;
/** Between two requests of the client. */
const PAUSE_MS = 2;
const PATIENCE_MS = 10_000;
/** An API server that does not keep up is not driven further. */
const MOST_UNDER_WAY = 50;

export type ChurnReport = {
  readonly seconds: number;
  readonly endpointChanges: number;
  readonly rootChanges: number;
  /** To hosts that change, all of which are served all the time. */
  readonly requests: number;
  readonly failed: readonly Answer[];
  /** Endpoints that were not served by their last change in the end. */
  readonly lost: readonly string[];
};

/** What others do meanwhile: changes of endpoints and of roots, and requests to all of their hosts. */
export class Churn {
  readonly #world: World;
  readonly #hosts: number;
  readonly #startedAt = performance.now();
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #client: Promise<void>;
  readonly #underWay = new Set<Promise<unknown>>();
  /** By host: whether its endpoint is at the other address. */
  readonly #isMoved = new Map<number, boolean>();
  readonly #failed: Answer[] = [];
  #failure: unknown;
  #isRunning = true;
  #endpointChanges = 0;
  #rootChanges = 0;
  #requests = 0;

  /** Changes all of these hosts in turn, but for those that are timed. */
  constructor(world: World, hosts: number) {
    this.#world = world;
    this.#hosts = hosts;
    this.#every(ENDPOINT_CHANGES_PER_SECOND, () => this.#moveEndpoint(this.#other(this.#endpointChanges++)));
    this.#every(ROOT_CHANGES_PER_SECOND, () => this.#editRoot(this.#rootChanges++));
    this.#client = this.#request();
  }

  async stop(): Promise<ChurnReport> {
    for (const timer of this.#timers) clearInterval(timer);
    this.#isRunning = false;
    await this.#client;
    await Promise.all(this.#underWay);
    const seconds = (performance.now() - this.#startedAt) / 1000;
    const lost = await this.#lost();
    if (this.#failure !== undefined) throw this.#failure;
    return {
      ...{ seconds, lost, failed: this.#failed, requests: this.#requests },
      ...{ endpointChanges: this.#endpointChanges, rootChanges: this.#rootChanges },
    };
  }

  #every(perSecond: number, change: () => Promise<unknown>): void {
    const send = () => {
      if (this.#underWay.size >= MOST_UNDER_WAY) return;
      const sent = change()
        .catch((error: unknown) => {
          this.#failure ??= error;
        })
        .finally(() => this.#underWay.delete(sent));
      this.#underWay.add(sent);
    };
    this.#timers.push(setInterval(send, 1000 / perSecond));
  }

  #other(count: number): number {
    const first = NEIGHBOUR + 1;
    return first + (count % (this.#hosts - first));
  }

  #moveEndpoint(index: number): Promise<unknown> {
    const isMoved = this.#isMoved.get(index) !== true;
    this.#isMoved.set(index, isMoved);
    const endpoints = endpointsAt(podAddress(index, isMoved));
    return this.#world.admin.patch(refTo("EndpointSlice", hostName(index)), { endpoints });
  }

  #editRoot(count: number): Promise<unknown> {
    const name = hostName(this.#other(count >> 1));
    const elsewhere = { match: "/elsewhere", service: hostName(EDITED) };
    const spec = { routes: routesOf(name, count % 2 === 0 ? elsewhere : undefined) };
    return this.#world.admin.patch(refTo("IngressRoute", name), { spec });
  }

  async #request(): Promise<void> {
    const probe = await Probe.open(this.#world.envoyPort);
    while (this.#isRunning) {
      const index = this.#other(this.#requests++);
      const answer = await probe.ask(fqdnOf(hostName(index)), "/");
      if (answer.status !== 200 || !addressesOf(index).includes(answer.body)) this.#failed.push(answer);
      await delay(PAUSE_MS);
    }
    probe.close();
  }

  /** Asks every host that was changed until it is served as it was left. */
  async #lost(): Promise<readonly string[]> {
    const deadline = performance.now() + PATIENCE_MS;
    const probe = await Probe.open(this.#world.envoyPort);
    const lost: string[] = [];
    for (const [index, isMoved] of this.#isMoved) {
      const name = hostName(index);
      const isServed = async () => (await probe.ask(fqdnOf(name), "/")).body === podAddress(index, isMoved);
      while (!(await isServed())) {
        if (performance.now() > deadline) {
          lost.push(name);
          break;
        }
      }
    }
    probe.close();
    return lost;
  }
}

function addressesOf(index: number): readonly string[] {
  return [false, true].map((isMoved) => podAddress(index, isMoved));
}
