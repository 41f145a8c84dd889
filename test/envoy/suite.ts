import { describe, inject, test } from "vitest";

/** A suite that needs a real Envoy: skipped as one test when there is none, see global-setup.ts. */
export function describeWithEnvoy(name: string, body: (binary: string) => void): void {
  const binary = inject("envoyBinary");
  if (binary === null) describe.skip(name, () => test("needs a real Envoy", () => {}));
  else describe(name, () => body(binary));
}
