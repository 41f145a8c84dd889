import fc from "fast-check";
import { expect, test } from "vitest";
import { Groups } from "../../src/api/groups.ts";

const key = fc.constantFrom("a", "b", "c");
const step = fc.oneof(
  fc.record({ kind: fc.constant("set" as const), outer: key, key, value: fc.nat() }),
  fc.record({ kind: fc.constant("delete" as const), outer: key, key }),
  fc.record({ kind: fc.constant("deleteAll" as const), outer: key }),
);

test("are what maps in a map would be", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const groups = new Groups<string, string, number>();
      const model = new Map<string, Map<string, number>>();
      for (const each of steps) {
        const group = model.get(each.outer) ?? new Map<string, number>();
        model.set(each.outer, group);
        if (each.kind === "set") {
          groups.set(each.outer, each.key, each.value);
          group.set(each.key, each.value);
        } else if (each.kind === "delete") {
          expect(groups.delete(each.outer, each.key)).toBe(group.delete(each.key));
        } else {
          groups.deleteAll(each.outer);
          group.clear();
        }
      }
      for (const [outer, group] of model) expect(groups.of(outer)).toEqual(group);
    }),
  );
});
