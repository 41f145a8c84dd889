import { expect, test } from "vitest";
import { objectKey } from "../../src/api/object-key.ts";
import { writeTeller } from "../../src/controller/write-log.ts";
import { logOfLines } from "./log-lines.ts";

test("a namespace whose statuses cannot be written has its share of the log, and no more", () => {
  const { log, lines } = logOfLines();
  const tell = writeTeller(log, () => 0);
  for (let i = 0; i < 1_000; i++) {
    const key = objectKey("IngressRoute", "team", `r${i}`);
    tell({ kind: "retried", key, error: new Error("no"), inMs: 200.4 });
    tell({ kind: "altered", key });
  }
  expect(lines).toHaveLength(61);
  expect(lines[0]).toMatchObject({
    object: "IngressRoute team/r0",
    inMs: 200,
    err: { message: "no" },
    msg: "a status could not be written yet",
  });
  expect(lines[60]).toMatchObject({ namespace: "team" });
  tell({ kind: "altered", key: objectKey("IngressRoute", "other", "r") });
  expect(lines[61]).toMatchObject({ object: "IngressRoute other/r" });
});
