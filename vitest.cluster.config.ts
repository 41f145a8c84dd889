import { defineConfig } from "vitest/config";

/** The tests with an API server. They run by `npm test` or scripts/cluster.mjs, in a network of their own. */
export default defineConfig({
  test: {
    include: ["test/cluster/**/*.test.ts"],
    globalSetup: ["test/envoy/global-setup.ts", "test/cluster/global-setup.ts"],
    isolate: false,
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
