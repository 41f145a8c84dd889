import { expect } from "vitest";
import { objectKey } from "../../src/api/object-key.ts";
import { byCodeUnit } from "../../src/api/order.ts";
import { CLASS_OF } from "../../src/compile/problems.ts";
import { eventually } from "../envoy/harness.ts";
import type { KubeAdmin, KubeObject } from "../parts/kube-admin.ts";
import type { ToldStatus } from "../statuses.ts";

/** What the status of every Ingress of ours is to say. */
export const LOAD_BALANCER = { kind: "addresses", addresses: [{ ip: "192.0.2.1" }] } as const;

/** Statuses wait for Envoys for at most a second. */
const STATUS_MS = 5_000;

/** Waits until the objects in the API server say of themselves what a status.yaml says; all others say nothing. */
export async function expectStatuses(admin: KubeAdmin, statuses: readonly ToldStatus[]): Promise<void> {
  const expected = [...statuses].sort((a, b) => byCodeUnit(a.object, b.object)).map(expectedOf);
  await eventually(async () => expect(await statusesIn(admin)).toEqual(expected), STATUS_MS);
}

function expectedOf({ object, currentStatus, description, problems = [] }: ToldStatus): unknown {
  if (currentStatus === undefined) return { object, addresses: LOAD_BALANCER.addresses };
  const isWarned = problems.some(({ code }) => CLASS_OF[code] === "C");
  return {
    ...{ object, currentStatus, description },
    conditions: {
      Valid: currentStatus === "valid" ? "True" : "False",
      ...(isWarned ? { Warnings: "True" } : {}),
      // Whatever is served, Envoy has accepted.
      Programmed: expect.stringMatching(/^(True|False, NotServed)$/),
    },
  };
}

async function statusesIn(admin: KubeAdmin): Promise<readonly unknown[]> {
  const lists = await Promise.all(
    ["IngressRoute", "Ingress"].map(async (kind) => (await admin.list(kind)).items.map((item) => toldBy(kind, item))),
  );
  return lists
    .flat()
    .filter((told) => told !== undefined)
    .sort((a, b) => byCodeUnit(a.object, b.object));
}

function toldBy(kind: string, { metadata, status }: KubeObject) {
  const object = objectKey(kind, metadata.namespace ?? "", metadata.name);
  const { currentStatus, description, conditions = [], loadBalancer } = Object(status);
  if (kind === "Ingress") {
    const addresses: unknown = loadBalancer?.ingress;
    return addresses === undefined ? undefined : { object, addresses };
  }
  if (status === undefined) return undefined;
  return {
    object,
    currentStatus,
    description,
    conditions: Object.fromEntries(conditions.map(inShort(metadata.generation))),
  };
}

/** A condition by its type; one that is not about the object as it is now counts for nothing. */
function inShort(generation: unknown): (condition: unknown) => readonly [type: string, told: string] {
  return (condition) => {
    const { type, status, reason, observedGeneration } = Object(condition);
    if (observedGeneration !== generation) return [type, `of generation ${observedGeneration}, not ${generation}`];
    return [type, type === "Programmed" && status !== "True" ? `${status}, ${reason}` : status];
  };
}
