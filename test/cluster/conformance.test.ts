import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { backendIdentity, type Case, type CaseOptions, loadCases } from "../cases.ts";
import { byOptions, IS_COMPLETE, SEED, shuffled, tellTime } from "../conformance.ts";
import { expectAnswer } from "../envoy/answers.ts";
import { describeWithEnvoy } from "../envoy/suite.ts";
import { type ApiServer, adminOf, startApiServer } from "../parts/api-server.ts";
import { installPermissiveDefinitions } from "../parts/deploy.ts";
import type { KubeAdmin } from "../parts/kube-admin.ts";
import { statusesOf } from "../statuses.ts";
import { type ClusterIsoline, startClusterIsoline } from "./isoline.ts";
import { ClusterObjects, keyOf } from "./objects.ts";
import { Pods } from "./pods.ts";
import { REFUSED } from "./refused.ts";
import { expectStatuses } from "./statuses.ts";

type Cluster = { readonly server: ApiServer; readonly admin: KubeAdmin; readonly pods: Pods };

/**
 * The golden cases once more, as objects of an API server. Our kinds are defined without a schema here, so that every
 * IngressRoute there is in a case can be made; what the schema refuses is in crds.test.ts.
 */
describeWithEnvoy("through an API server", (binary) => {
  let cluster: Cluster;
  beforeAll(async () => {
    // One of its own: others make objects in the shared one.
    const server = await startApiServer();
    const admin = adminOf(server);
    await installPermissiveDefinitions(admin);
    cluster = { server, admin, pods: await Pods.start(backendIdentity()) };
  });
  afterAll(async () => {
    await cluster.pods.stop();
    await cluster.admin.close();
    await cluster.server.stop();
  });

  const cases = loadCases().filter(({ name }) => !(name in REFUSED));
  describe("one after the other, without a restart", () => {
    tellTime("through an API server", cases);
    inTurn(binary, () => cluster, cases);
  });
  if (IS_COMPLETE) {
    describe(`in another order, SEED=${SEED}`, () => {
      tellTime(`through an API server in another order, SEED=${SEED}`, cases);
      inTurn(binary, () => cluster, shuffled(cases));
    });
  }

  describe("what no API server holds is refused", () => {
    const all = new Map(loadCases().map((each) => [each.name, each]));
    test.each(Object.entries(REFUSED))("case '%s'", async (name, refusals) => {
      const objects = new ClusterObjects(cluster.admin);
      const said = new Map<string, string>();
      for (const object of all.get(name)?.raw ?? []) {
        const refusal = await objects.refusalOf(object);
        if (refusal !== undefined) said.set(keyOf(object), refusal);
      }
      expect(Object.fromEntries(said)).toEqual(
        Object.fromEntries(Object.entries(refusals).map(([key, words]) => [key, expect.stringMatching(words)])),
      );
    });
  });
});

function inTurn(binary: string, cluster: () => Cluster, cases: readonly Case[]): void {
  for (const [options, group] of byOptions(cases)) {
    describe(`with ${options}`, () => {
      let isoline: ClusterIsoline;
      beforeAll(async () => {
        const settings: CaseOptions = JSON.parse(options);
        isoline = await startClusterIsoline({ binary, settings, ...cluster() });
      });
      afterAll(async () => {
        expect(await isoline.envoy().rejected()).toBe(0);
        await isoline.replace([]);
        await isoline.stop();
      });
      test.each(group.map((each) => ({ each, name: each.name })))("case $name", async ({ each }) => {
        await isoline.replace(await cluster().pods.reachable(each));
        await expectOutcome(isoline, cluster().admin, each);
      });
    });
  }
}

async function expectOutcome(isoline: ClusterIsoline, admin: KubeAdmin, { statuses, requests }: Case): Promise<void> {
  const { translator } = isoline.running().controller;
  expect(statusesOf(translator.current())).toEqual(statuses);
  const told = statusesOf(translator.current());
  await expectStatuses(admin, told);
  for (const expected of requests) await expectAnswer(isoline, expected);
  // They were not only passing by.
  await expectStatuses(admin, told);
}
