import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { type Envoy, eventually } from "../envoy/harness.ts";
import { describeWithEnvoy } from "../envoy/suite.ts";
import {
  Installation,
  isLeading,
  patchesOf,
  type Replica,
  SOON_MS,
  sentBy,
  TAKEOVER_MS,
  type ToldOptions,
  writesOf,
} from "./installation.ts";

/** All of them by `npm run conformance`. */
const FLIPS = process.env.CONFORMANCE === "1" ? 10_000 : 1_000;
const FLIPS_MS = FLIPS * 100;
const HOUR_MS = 3_600_000;

describeWithEnvoy("two replicas", (binary) => {
  let all: Installation;
  beforeAll(async () => {
    all = await Installation.start(binary);
  });
  afterEach(() => all.clear());
  afterAll(() => all.stop());

  const names = Array.from({ length: 50 }, (_, at) => `root-${at}`);

  /** The first one leads, and Envoy is connected to that or to the other. */
  async function started(connected: "a" | "b" = "a", skewMs = 0): Promise<readonly [Replica, Replica, Envoy]> {
    const a = await all.startReplica("pod-a");
    await eventually(() => isLeading(a), SOON_MS);
    const b = await all.startReplica("pod-b", skewMs);
    const envoy = await all.startEnvoy(connected === "a" ? a : b);
    await everywhere("blue");
    await servedEverywhere("blue");
    await toldEverywhere({ programmed: connected === "a" ? "True" : "Unknown" });
    return [a, b, envoy];
  }

  async function everywhere(backend: "blue" | "green"): Promise<void> {
    await Promise.all(names.map((name) => all.route(name, backend)));
  }

  async function servedEverywhere(backend: "blue" | "green"): Promise<void> {
    for (const name of names) await all.served(name, backend);
  }

  async function toldEverywhere(options: Pick<ToldOptions, "programmed"> = {}): Promise<void> {
    await all.told(new Map(names.map((name) => [name, "valid"])), { deadlineMs: TAKEOVER_MS, ...options });
  }

  async function expectOneWriteEach(): Promise<void> {
    expect([...writesOf(await all.statusWrites())].filter(([, count]) => count !== 1)).toEqual([]);
  }

  test("are replaced one after the other: no request fails, and nothing is sent again", async () => {
    const [a, b] = await started();
    const writes = (await all.statusWrites()).length;
    const load = all.load(names);
    const fresh: Replica[] = [];
    for (const [at, replica] of [a, b].entries()) {
      fresh.push(await all.startReplica(`new-${at}`));
      expect(await replica.end("SIGTERM")).toEqual({ code: 0 });
    }
    const connected = async () => (await Promise.all(fresh.map(envoysOf))).reduce((sum, count) => sum + count, 0);
    await eventually(async () => (await connected()) === 1, SOON_MS);
    await eventually(async () => (await Promise.all(fresh.map(isLeading))).includes(true), SOON_MS);
    expect(await Promise.all(fresh.map(sentBy))).toEqual([0, 0]);
    expect((await all.statusWrites()).length).toBe(writes);
    await everywhere("green");
    await servedEverywhere("green");
    expect(Math.max(...(await Promise.all(fresh.map(sentBy))))).toBeGreaterThan(0);
    const { failures, requests } = await load.stop();
    expect(failures).toEqual([]);
    expect(requests).toBeGreaterThan(1_000);
    const isTogether =
      (await Promise.all(fresh.map(isLeading))).indexOf(true) === (await Promise.all(fresh.map(envoysOf))).indexOf(1);
    await toldEverywhere({ programmed: isTogether ? "True" : "Unknown" });
    await expectOneWriteEach();
  }, 90_000);

  test("of which the one that leads is killed: the other writes what is left to be written", async () => {
    const [a, b] = await started();
    const load = all.load(names);
    const patches = patchesOf(a);
    await everywhere("green");
    await eventually(() => patchesOf(a) > patches, SOON_MS);
    await a.end("SIGKILL");
    await everywhere("blue");
    await servedEverywhere("blue");
    expect(await isLeading(b)).toBe(false);
    await toldEverywhere();
    expect(await isLeading(b)).toBe(true);
    expect((await load.stop()).failures).toEqual([]);
    await expectOneWriteEach();
  }, 90_000);

  test("of which one is cut off from the API server, with clocks that differ: never do both write", async () => {
    const [a, b] = await started("b", 2 * HOUR_MS);
    const load = all.load(names);
    expect(patchesOf(b)).toBe(0);
    const before = patchesOf(a);
    const heal = a.proxy.partition();
    await everywhere("green");
    await servedEverywhere("green");
    expect(await isLeading(b)).toBe(false);
    await toldEverywhere();
    expect(patchesOf(b)).toBe(names.length);
    expect(await isLeading(a)).toBe(false);
    heal();
    await eventually(() => a.lines.some(({ holder }) => `${holder}`.startsWith("pod-b_")), SOON_MS);
    await everywhere("blue");
    await toldEverywhere();
    expect(patchesOf(a)).toBe(before);
    expect((await load.stop()).failures).toEqual([]);
    await expectOneWriteEach();
  }, 90_000);

  test(
    `serve a route that is flipped ${FLIPS} times between two services: no request fails`,
    async () => {
      const [, , envoy] = await started();
      // Nobody else needs the services, so that their clusters come and go.
      await Promise.all(names.slice(1).map((name) => all.remove(name)));
      const load = all.load(["root-0"]);
      for (let flip = 0; flip < FLIPS; flip++) {
        const backend = flip % 2 === 0 ? "green" : "blue";
        await all.lead("root-0", backend);
        await all.served("root-0", backend);
      }
      const { failures, requests, answers } = await load.stop();
      expect(failures).toEqual([]);
      expect(requests).toBeGreaterThan(FLIPS);
      expect([...answers.keys()].sort()).toEqual(["blue", "green"]);
      expect(await envoy.rejected()).toBe(0);
      await all.told(new Map([["root-0", "valid"]]));
      await expectOneWriteEach();
    },
    FLIPS_MS + 30_000,
  );
});

async function envoysOf({ get }: Replica): Promise<number> {
  return Number(/^isoline_envoys (\d+)$/m.exec((await get("/metrics")).text)?.[1]);
}
