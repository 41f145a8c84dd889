import { describe, expect, test } from "vitest";
import { boundedRegexes, isOverwhelming, uidOf } from "../../src/webhook/bounds.ts";

const overwhelming = (json: string) => isOverwhelming(Buffer.from(json));

describe("a text of JSON", () => {
  test.each([
    ["what people write", JSON.stringify({ spec: { routes: [{ match: "/", services: [{ name: "a", port: 80 }] }] } })],
    ["90,000 items", `[${"1,".repeat(90_000)}1]`],
    ["a string that looks like parts", JSON.stringify("[{,".repeat(1_000_000))],
    ["a string of quotes and backslashes", JSON.stringify('\\"[{,'.repeat(500_000))],
    ["siblings, none of them deep", JSON.stringify(Array.from({ length: 1_000 }, () => [[[[]]]]))],
    ["a string without an end", `"${"[".repeat(1_000_000)}`],
    ["nothing", ""],
  ])("is read: %s", (_, json) => {
    expect(overwhelming(json)).toBe(false);
  });

  test.each([
    ["110,000 items", `[${"1,".repeat(110_000)}1]`],
    ["110,000 fields", `{${Array.from({ length: 110_000 }, (_, i) => `"${i}":1`).join(",")}}`],
    ["101 levels", `${"[".repeat(101)}${"]".repeat(101)}`],
    ["101 levels after a string", `{"a":"\\\\","b":${'{"a":'.repeat(101)}1}`],
  ])("is not: %s", (_, json) => {
    expect(overwhelming(json)).toBe(true);
  });
});

test.each([
  [
    '{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"705ab4f5-6393","kind":{',
    "705ab4f5-6393",
  ],
  ['{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1","request":{"uid":"705ab4f5-6393"', undefined],
  ['{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"a b"', undefined],
  ["[[[[", undefined],
  ["", undefined],
])("the uid in %s", (body, uid) => {
  expect(uidOf(Buffer.from(body))).toBe(uid);
});

test("only so many regular expressions are read, each of them once", () => {
  let reads = 0;
  const { read, unread } = boundedRegexes(() => ({ ok: false, reason: `${++reads}` }));
  for (let i = 0; i < 200; i++) for (let again = 0; again < 2; again++) read(`/${i}`);
  expect([reads, unread()]).toEqual([200, 0]);
  expect(read("/200").ok).toBe(true);
  expect(read("/199")).toEqual({ ok: false, reason: "200" });
  expect([reads, unread()]).toEqual([200, 1]);
});
