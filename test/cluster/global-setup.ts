import type { TestProject } from "vitest/node";
import { type ApiServerAddress, startApiServer } from "../parts/api-server.ts";

declare module "vitest" {
  interface ProvidedContext {
    apiServer: ApiServerAddress;
  }
}

/** Starts the API server that all test files share. Tests that stop one start their own. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startApiServer();
  const { url, caPem, adminToken, nobodyToken, serviceAccountKeyPem } = server;
  project.provide("apiServer", { url, caPem, adminToken, nobodyToken, serviceAccountKeyPem });
  return server.stop;
}
