import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { KINDS } from "../../src/api/kinds.ts";
import { type Envoy, eventually } from "../envoy/harness.ts";
import { describeWithEnvoy } from "../envoy/suite.ts";
import { isWatch } from "../parts/fault-proxy.ts";
import {
  Installation,
  isLeading,
  listsOf,
  patchesOf,
  type Replica,
  SOON_MS,
  TAKEOVER_MS,
  writesOf,
} from "./installation.ts";

const ROOTS = 100;
const EDITS = 1_000;
const EDITS_AT_A_TIME = 4;
/** How many statuses are written at a time: when all were refused, the others wait. */
const AT_A_TIME = 8;

describeWithEnvoy("an installation", (binary) => {
  let all: Installation;
  beforeAll(async () => {
    all = await Installation.start(binary);
  });
  afterEach(() => all.clear());
  afterAll(() => all.stop());

  test("whose controller is killed during 1,000 edits loses none of them", async () => {
    const first = await all.startReplica("pod-a");
    const names = Array.from({ length: ROOTS }, (_, at) => `root-${at}`);
    await Promise.all(names.map((name) => all.route(name, "blue")));
    const envoy = await all.startEnvoy();
    await eventually(() => isLeading(first), SOON_MS);
    await Promise.all(names.map((name) => all.served(name, "blue")));
    const load = all.load(names.filter((_, at) => !isSometimesInvalid(at)));

    let made = 0;
    let restarted: Promise<unknown> = Promise.resolve();
    const editor = async () => {
      for (let edit = made++; edit < EDITS; edit = made++) {
        if (edit === EDITS / 4) restarted = first.end("SIGKILL").then(() => all.startReplica("pod-b"));
        const at = edit % ROOTS;
        await all.route(names[at] ?? "", backendOf(edit), isSometimesInvalid(at) && isLast(edit) ? -1 : 1);
      }
    };
    await Promise.all(Array.from({ length: EDITS_AT_A_TIME }, editor));
    await restarted;

    const valid = names.filter((_, at) => !isSometimesInvalid(at));
    await Promise.all(valid.map((name) => all.served(name, backendOf(EDITS - 1))));
    const { requests, failures } = await load.stop();
    expect(failures).toEqual([]);
    expect(requests).toBeGreaterThan(1_000);
    expect(await envoy.rejected()).toBe(0);
    await all.told(new Map(names.map((name, at) => [name, isSometimesInvalid(at) ? "invalid" : "valid"])), {
      deadlineMs: TAKEOVER_MS,
    });
    await expectOneWriteEach();
  }, 120_000);

  /** A replica that leads, and an Envoy that serves these routes by blue, whose statuses say so. */
  async function started(...routes: readonly string[]): Promise<{ readonly replica: Replica; readonly envoy: Envoy }> {
    const replica = await all.startReplica("pod-a");
    await Promise.all(routes.map((name) => all.route(name, "blue")));
    const envoy = await all.startEnvoy();
    await all.told(valid(routes));
    await Promise.all(routes.map((name) => all.served(name, "blue")));
    return { replica, envoy };
  }

  async function expectOneWriteEach(): Promise<void> {
    expect([...writesOf(await all.statusWrites())].filter(([, count]) => count !== 1)).toEqual([]);
  }

  test("whose API server is killed goes on, and learns all when that is back", async () => {
    const { replica } = await started("away-1", "away-2");
    const load = all.load(["away-1", "away-2"]);
    await all.server.kill();
    await eventually(() => replica.lines.some(({ msg }) => /^the API server cannot be reached/.test(msg)), SOON_MS);
    const { length } = replica.lines;
    await all.server.start();
    await all.route("away-1", "green");
    await all.route("away-3", "blue");
    await Promise.all([all.served("away-1", "green"), all.served("away-3", "blue")]);
    await all.told(valid(["away-1", "away-2", "away-3"]));
    expect((await load.stop()).failures).toEqual([]);
    expect(replica.lines.slice(length).filter(({ level }) => level >= 60)).toEqual([]);
    await expectOneWriteEach();
  }, 60_000);

  test("lists anew when the API server says 410, and misses nothing", async () => {
    const { replica } = await started("gone-1", "gone-2");
    const load = all.load(["gone-2"]);
    const lists = listsOf(replica);
    const heal = replica.proxy.partition();
    await all.route("gone-2", "green");
    await all.remove("gone-1");
    await all.server.restart();
    heal();
    replica.proxy.cut();
    await all.served("gone-2", "green");
    await eventually(async () => (await all.get("gone-1")).status === 404, SOON_MS);
    await all.told(valid(["gone-2"]));
    expect((await replica.get("/metrics")).text).toMatch(/isoline_kubernetes_errors_total\{.*error="410"\} [1-9]/);
    expect(listsOf(replica)).toBeGreaterThan(lists);
    expect((await load.stop()).failures).toEqual([]);
    await expectOneWriteEach();
  }, 60_000);

  test("whose connections are cut every 2 s loses no edit, and lists nothing again", async () => {
    const names = Array.from({ length: 10 }, (_, at) => `cut-${at}`);
    const { replica } = await started(...names);
    const load = all.load(names);
    const lists = listsOf(replica);
    const watches = () => replica.proxy.requests().filter(isWatch).length;
    const wanted = watches() + 3 * KINDS.length;
    const off = replica.proxy.cutEvery(2_000);
    for (let edit = 0; watches() < wanted; edit++) {
      const name = names[edit % names.length] ?? "";
      const backend = Math.floor(edit / names.length) % 2 === 0 ? "green" : "blue";
      await all.route(name, backend);
      await all.served(name, backend);
    }
    off();
    await all.told(valid(names));
    expect(listsOf(replica)).toBe(lists);
    expect((await load.stop()).failures).toEqual([]);
    await expectOneWriteEach();
  }, 60_000);

  test("whose connections die without a word is not deaf for longer than a renewal of its Lease takes to fail", async () => {
    const { replica } = await started("silent");
    const lists = listsOf(replica);
    replica.proxy.silence();
    await all.route("silent", "green");
    await all.served("silent", "green");
    await all.told(valid(["silent"]));
    expect(listsOf(replica)).toBe(lists);
    await expectOneWriteEach();
  }, 60_000);

  test.each([429, 503])(
    "whose statuses are answered by %i writes each once when that is over",
    async (status) => {
      const names = Array.from({ length: 20 }, (_, at) => `storm-${status}-${at}`);
      const { replica } = await started(...names);
      const patches = patchesOf(replica);
      const off = replica.proxy.answer({ status, retryAfterSeconds: 1, match: ({ method }) => method === "PATCH" });
      await Promise.all(names.map((name) => all.route(name, "green")));
      const refused = () => replica.proxy.requests().filter((answer) => answer.status === status).length;
      await eventually(() => refused() >= AT_A_TIME, SOON_MS);
      await Promise.all(names.map((name) => all.served(name, "green")));
      off();
      await all.told(valid(names));
      expect(patchesOf(replica) - patches).toBe(names.length);
      await expectOneWriteEach();
    },
    60_000,
  );

  test("whose Envoy is killed has its new one serve everything, and rewrites no status for that", async () => {
    const { envoy } = await started("envoy-1", "envoy-2");
    const { length } = await all.statusWrites();
    process.kill(envoy.pid, "SIGKILL");
    await all.route("envoy-3", "blue");
    await all.startEnvoy();
    await Promise.all(["envoy-1", "envoy-2", "envoy-3"].map((name) => all.served(name, "blue")));
    await all.told(valid(["envoy-1", "envoy-2", "envoy-3"]));
    const routes = (await all.statusWrites()).slice(length).map(({ route }) => route);
    expect(new Set(routes)).toEqual(new Set(["envoy-3"]));
  }, 60_000);
});

function backendOf(edit: number): "blue" | "green" {
  return Math.floor(edit / ROOTS) % 2 === 0 ? "green" : "blue";
}

function isSometimesInvalid(root: number): boolean {
  return root % 10 === 9;
}

function isLast(edit: number): boolean {
  return edit >= EDITS - ROOTS;
}

function valid(names: readonly string[]): ReadonlyMap<string, "valid"> {
  return new Map(names.map((name) => [name, "valid"]));
}
