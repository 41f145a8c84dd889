import { describe, expect, test } from "vitest";
import { isOverwhelming, uidOf } from "../../src/webhook/bounds.ts";

const overwhelming = (json: string) => isOverwhelming(Buffer.from(json));

describe("a text of JSON", () => {
  test.each([
    ["what people write", JSON.stringify({ spec: { routes: [{ match: "/", services: [{ name: "a", port: 80 }] }] } })],
    ["250,000 items", `[${"1,".repeat(250_000)}1]`],
    ["a string that looks like parts", JSON.stringify("[{,".repeat(1_000_000))],
    ["a string of quotes and backslashes", JSON.stringify('\\"[{,'.repeat(500_000))],
    ["siblings, none of them deep", JSON.stringify(Array.from({ length: 1_000 }, () => [[[[]]]]))],
    ["a string without an end", `"${"[".repeat(1_000_000)}`],
    ["nothing", ""],
  ])("is read: %s", (_, json) => {
    expect(overwhelming(json)).toBe(false);
  });

  test.each([
    ["350,000 items", `[${"1,".repeat(350_000)}1]`],
    ["350,000 fields", `{${Array.from({ length: 350_000 }, (_, i) => `"${i}":1`).join(",")}}`],
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
