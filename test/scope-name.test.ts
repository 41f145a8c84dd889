import { expect, test } from "vitest";
import { digest } from "../src/controller/digest.ts";
import { httpScope, httpsScope, scopeName } from "../src/envoy/names.ts";

test("a short scope is its own name, a long one is named in as many bytes as Envoy copies without allocating", () => {
  expect(scopeName(httpScope("a".repeat(20)), digest)).toBe(`h|${"a".repeat(20)}`);
  const [http, https] = [httpScope("a".repeat(21)), httpsScope("a".repeat(21))].map((scope) =>
    scopeName(scope, digest),
  );
  expect(http).toMatch(/^h#[-\w]{20}$/);
  expect(https).toMatch(/^s#[-\w]{20}$/);
  expect(https?.slice(2)).not.toBe(http?.slice(2));
});

test("long scopes have names of their own, and always the same", () => {
  const scopes = Array.from({ length: 1000 }, (_, i) => httpScope(`host-${i}.a-long-domain.example.com`));
  const names = new Set(scopes.map((scope) => scopeName(scope, digest)));
  expect(names.size).toBe(1000);
  for (const scope of scopes) expect(names).toContain(scopeName(scope, digest));
});
