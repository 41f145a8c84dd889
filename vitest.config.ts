import { configDefaults, defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // They need a network of their own: vitest.cluster.config.ts.
    exclude: [...configDefaults.exclude, "test/cluster/**"],
    globalSetup: ["test/envoy/global-setup.ts"],
    // Our modules keep no state of their own, and loading them anew for every file takes most of the time.
    isolate: false,
    testTimeout: 20_000,
    hookTimeout: 30_000,
  },
});
