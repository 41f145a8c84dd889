import { beforeEach, expect, test } from "vitest";
import { createElection } from "../../src/controller/election.ts";
import { createLog } from "../../src/controller/log.ts";
import type { KubeRequest } from "../../src/kube/client.ts";
import { ApiError, ConnectionError } from "../../src/kube/errors.ts";
import type { LeaderElector } from "../../src/kube/lease.ts";
import { ModelLeases, NAME, NAMESPACE, Timeline } from "../kube/election-world.ts";

let leases: ModelLeases;
let timeline: Timeline;
let lines: string[];
let changes: boolean[];
let answer: (request: KubeRequest) => unknown;
let envoys: number;

beforeEach(() => {
  leases = new ModelLeases();
  leases.put({ metadata: {} });
  timeline = new Timeline();
  lines = [];
  changes = [];
  envoys = 0;
  answer = (request) => leases.handle(request);
});

function election(): LeaderElector {
  return createElection({
    client: { request: async (request) => answer(request) },
    namespace: NAMESPACE,
    name: NAME,
    identity: "pod_1",
    clock: {
      now: () => timeline.nowMs,
      monotonicMs: () => timeline.nowMs,
      after: (ms, work) => timeline.after(ms, work),
    },
    connected: () => envoys,
    random: () => 0,
    onChange: (isLeading) => changes.push(isLeading),
    log: createLog({ level: "info", format: "text" }, (line) => lines.push(line.slice(line.indexOf(" ") + 1, -1))),
  });
}

async function started(): Promise<LeaderElector> {
  const elector = election();
  elector.start();
  await timeline.pass(0);
  return elector;
}

function said(): readonly string[] {
  return lines.splice(0);
}

test("the log says who leads", async () => {
  const elector = await started();
  expect(said()).toEqual(['info leading: this replica writes statuses lease="isoline/leader" identity="pod_1"']);
  leases.put({ ...leases.lease, spec: { holderIdentity: "pod_2" } });
  await timeline.pass(2_000);
  expect(said()).toEqual([
    'info another replica has the Lease lease="isoline/leader" holder="pod_2"',
    'info not leading any more: this replica writes no statuses lease="isoline/leader" identity="pod_1"',
  ]);
  expect(changes).toEqual([true, false]);
  await elector.stop();
});

test("a Lease that has to be made is told of, with the wait", async () => {
  leases.remove();
  const elector = await started();
  expect(said()).toEqual([
    'info there was no Lease: somebody leads when the new one has stood still lease="isoline/leader" waitMs=15000',
  ]);
  await elector.stop();
});

test.each([
  [new ConnectionError("connect", "connect ECONNREFUSED"), "the API server cannot be reached: connect ECONNREFUSED"],
  [refusal(401), "the API server does not believe who this is: no"],
  [refusal(403), "the role of this controller needs the verbs get, update and create for leases: no"],
  [refusal(500), "no"],
  [new TypeError("oh"), "a bug in Isoline: oh"],
])("what stands in the way is told once, when trying again has not helped: %s", async (error, text) => {
  const elector = await started();
  said();
  answer = () => {
    throw error;
  };
  await timeline.pass(3_000);
  expect(said()).toEqual([]);
  await timeline.pass(5_500);
  expect(said()).toEqual([`error the Lease isoline/leader cannot be kept: ${text}; what is served stays as it is`]);
  await timeline.pass(20_000);
  expect(said()).toEqual([
    'info not leading any more: this replica writes no statuses lease="isoline/leader" identity="pod_1"',
  ]);
  answer = (request) => leases.handle(request);
  await timeline.pass(2_500);
  expect(said()).toEqual([
    "info the Lease isoline/leader can be kept again",
    'info leading: this replica writes statuses lease="isoline/leader" identity="pod_1"',
  ]);
  await elector.stop();
});

test("a namespace that is not there is told of", async () => {
  answer = () => {
    throw refusal(404);
  };
  const elector = await started();
  await timeline.pass(3_000);
  expect(said()).toEqual([
    "error the Lease isoline/leader cannot be kept: there is no such namespace; another can be named with --leader-election-namespace: no; what is served stays as it is",
  ]);
  await elector.stop();
});

function refusal(status: number): ApiError {
  return new ApiError({ message: "no", status, reason: "", causes: [], retryAfterMs: undefined });
}

test("a leader says that it has no Envoys when it had none for half a minute, and hands over if it is asked", async () => {
  envoys = 1;
  await started();
  const annotations = () => leases.lease?.metadata.annotations;
  await timeline.pass(60_000);
  expect(annotations()).toEqual({});
  envoys = 0;
  await timeline.pass(28_000);
  expect(annotations()).toEqual({});
  envoys = 1;
  await timeline.pass(10_000);
  envoys = 0;
  await timeline.pass(28_000);
  expect(annotations()).toEqual({});
  await timeline.pass(6_000);
  expect(annotations()).toEqual({ "isoline/idle": "true" });
  const { metadata, spec } = leases.lease ?? { metadata: {} };
  leases.put({
    metadata: { ...metadata, annotations: { ...Object(annotations()), "isoline/wanted-by": "pod_2" } },
    spec,
  });
  await timeline.pass(3_000);
  expect(changes).toEqual([true, false]);
  expect(lines.at(-1)).toContain("no Envoy is connected here: handing over to a replica that has one");
});
