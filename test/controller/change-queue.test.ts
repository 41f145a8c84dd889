import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ObjectChange } from "../../src/api/kinds.ts";
import { objectKey } from "../../src/api/object-key.ts";
import { ChangeQueue, lanesOf } from "../../src/controller/change-queue.ts";

const gone = (kind: string, namespace: string, name: string): ObjectChange => ({
  kind: "deleted",
  key: objectKey(kind, namespace, name),
});
const [blog, shop, shopToo] = [
  gone("Service", "blog", "a"),
  gone("Service", "shop", "a"),
  gone("Service", "shop", "b"),
];
const slice = gone("EndpointSlice", "shop", "a-1");

const nobody = () => false;

test("everything that waits is taken at once, of an object the last change only", () => {
  const queue = new ChangeQueue();
  const again = gone("Service", "shop", "a");
  queue.push([shop, blog]);
  queue.push([shopToo, again]);
  const taken = queue.take(0, nobody);
  expect(taken).toEqual([shopToo, again, blog]);
  expect(taken?.[1]).toBe(again);
  expect(queue.take(0, nobody)).toBeUndefined();
  expect(queue.dueInMs(0, nobody)).toBeUndefined();
});

test("a namespace whose changes took long rests twice as long, but its endpoints do not, and nobody else does", () => {
  const queue = new ChangeQueue();
  queue.applied([shop], 500, 1000);
  queue.push([shop, slice, blog]);
  expect(queue.take(1000, nobody)).toEqual([slice]);
  expect(queue.take(1000, nobody)).toEqual([blog]);
  expect(queue.take(1999, nobody)).toBeUndefined();
  expect(queue.dueInMs(1500, nobody)).toBe(500);
  expect(queue.take(2000, nobody)).toEqual([shop]);
});

test("when those of several took long together nobody rests, and then they have turns", () => {
  const queue = new ChangeQueue();
  queue.applied([shop, blog], 500, 0);
  queue.push([shop, blog, shopToo]);
  expect(queue.take(1, nobody)).toEqual([shop, shopToo]);
  queue.applied([shop, shopToo], 99, 2);
  expect(queue.take(2, nobody)).toEqual([blog]);
});

test("a namespace of which something rests is behind the others after its turn", () => {
  const queue = new ChangeQueue();
  queue.applied([shop], 500, 0);
  queue.push([shop, slice, blog]);
  expect(queue.take(1, nobody)).toEqual([slice]);
  queue.push([gone("EndpointSlice", "shop", "a-2")]);
  expect(queue.take(1, nobody)).toEqual([blog]);
});

test("endpoints that take long rest as well, but nothing else of their namespace does", () => {
  const queue = new ChangeQueue();
  queue.applied([slice], 500, 0);
  queue.push([slice, shop]);
  expect(queue.take(1, nobody)).toEqual([shop]);
  expect(queue.take(999, nobody)).toBeUndefined();
  expect(queue.dueInMs(999, nobody)).toBe(1);
  expect(queue.take(1000, nobody)).toEqual([slice]);
});

test("nothing is taken of a lane of which something is being applied", () => {
  const queue = new ChangeQueue();
  queue.push([shop, slice, blog]);
  const isBusy = (lane: string) => lanesOf([shop]).has(lane);
  expect(queue.take(0, isBusy)).toEqual([slice, blog]);
  expect(queue.take(0, isBusy)).toBeUndefined();
  expect(queue.dueInMs(0, isBusy)).toBeUndefined();
  expect(queue.dueInMs(0, nobody)).toBe(0);
  expect(queue.take(0, nobody)).toEqual([shop]);
});

describe("whatever is pushed, and however long it takes", () => {
  const change = fc
    .record({
      kind: fc.constantFrom("Service", "EndpointSlice"),
      namespace: fc.constantFrom("a", "b", "c"),
      n: fc.nat(2),
    })
    .map(({ kind, namespace, n }) => gone(kind, namespace, `${n}`));
  const laneOf = ({ key }: ObjectChange) => key.replace(/\/[^/]*$/, "");
  const steps = fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant("push" as const), changes: fc.array(change, { maxLength: 4 }) }),
      fc.record({ kind: fc.constant("apply" as const), tookMs: fc.constantFrom(0, 99, 100, 3000) }),
      fc.record({ kind: fc.constant("wait" as const), ms: fc.constantFrom(1, 200, 6000) }),
    ),
    { minLength: 10, maxLength: 40 },
  );

  test("the last change of each object is applied, once, and nobody but who took long waits", () => {
    fc.assert(
      fc.property(steps, (all) => {
        const queue = new ChangeQueue();
        const wanted = new Map<string, ObjectChange>();
        const restsUntil = new Map<string, number>();
        let now = 0;
        const apply = (tookMs: number): boolean => {
          const taken = queue.take(now, nobody);
          if (taken === undefined) return false;
          for (const each of taken) {
            expect(wanted.get(each.key)).toBe(each);
            wanted.delete(each.key);
            expect(restsUntil.get(laneOf(each)) ?? 0).toBeLessThanOrEqual(now);
          }
          const lanes = [...new Set(taken.map(laneOf))];
          now += tookMs;
          queue.applied(taken, tookMs, now);
          if (tookMs >= 100 && lanes.length === 1) restsUntil.set(lanes[0] ?? "", now + 2 * tookMs);
          return true;
        };
        for (const step of all) {
          if (step.kind === "wait") now += step.ms;
          else if (step.kind === "apply") apply(step.tookMs);
          else {
            queue.push(step.changes);
            for (const each of step.changes) wanted.set(each.key, each);
          }
        }
        while (apply(0));
        // What is left belongs to those who rest.
        for (const each of wanted.values()) expect(restsUntil.get(laneOf(each))).toBeGreaterThan(now);
        while (wanted.size > 0) {
          const due = queue.dueInMs(now, nobody);
          expect(due).toBeGreaterThan(0);
          now += due ?? 0;
          expect(apply(0)).toBe(true);
          while (apply(0));
        }
        expect(queue.dueInMs(now, nobody)).toBeUndefined();
      }),
    );
  });
});
