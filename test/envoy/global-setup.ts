import type { TestProject } from "vitest/node";
import { EnvoyUnavailable, envoySearch, findEnvoy } from "../../src/cli/envoy-binary.ts";

declare module "vitest" {
  interface ProvidedContext {
    /** The path of a real Envoy, or null when there is none and its tests are to be skipped. */
    envoyBinary: string | null;
  }
}

/** Finds or fetches a real Envoy once for all test files. Its absence is a failure in CI, else those tests are skipped. */
export default async function setup(project: TestProject): Promise<void> {
  try {
    project.provide("envoyBinary", await findEnvoy(envoySearch(process.env, undefined, console.warn)));
  } catch (error) {
    if (!(error instanceof EnvoyUnavailable) || process.env.CI === "true") throw error;
    console.warn(`\n!!! THE TESTS WITH A REAL ENVOY ARE SKIPPED: ${error.message}\n`);
    project.provide("envoyBinary", null);
  }
}
