import { expect, test } from "vitest";
import { teller } from "../../src/cli/webhook.ts";
import { createLog } from "../../src/controller/log.ts";
import { Telemetry } from "../../src/controller/telemetry.ts";

test("what strangers send and bugs that they find fill no log, and are counted", async () => {
  const lines: string[] = [];
  const telemetry = new Telemetry();
  const tell = teller({ log: createLog({ level: "info", format: "json" }, (line) => lines.push(line)), telemetry });
  for (let i = 0; i < 1_000; i++) {
    tell({ kind: "unreadable", reason: "no review" });
    tell({ kind: "bug", error: new Error("a bug") });
  }
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { msg: "webhook: asked for what is no review", reason: "no review", heldBack: 0 },
    { msg: "webhook: a bug in Isoline: a review failed", heldBack: 0 },
  ]);
  const metrics = await telemetry.registry.metrics();
  expect(metrics).toContain('isoline_webhook_reviews_total{kind="other",verdict="unreadable"} 1000');
  expect(metrics).toContain("isoline_bugs_total 1000");
});

test("the end of the webhook's certificate is a number of the replicas that have one", async () => {
  const telemetry = new Telemetry();
  const tell = teller({ log: createLog({ level: "info", format: "json" }, () => {}), telemetry });
  expect(await telemetry.registry.metrics()).not.toContain("isoline_webhook_certificate_not_after_seconds");
  tell({ kind: "shown", notAfterMs: 1_700_000_000_500 });
  tell({ kind: "shown", notAfterMs: 1_800_000_000_000 });
  expect(await telemetry.registry.metrics()).toContain("isoline_webhook_certificate_not_after_seconds 1800000000\n");
});
