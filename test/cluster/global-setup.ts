import type { TestProject } from "vitest/node";
import { type ApiServerAddress, adminOf, startApiServer } from "../parts/api-server.ts";
import { installDefinitions } from "../parts/deploy.ts";

declare module "vitest" {
  interface ProvidedContext {
    apiServer: ApiServerAddress;
  }
}

/** Starts the API server that all test files share, with our kinds defined. Tests that stop one start their own. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const server = await startApiServer();
  const { url, caPem, adminToken, nobodyToken, serviceAccountKeyPem } = server;
  project.provide("apiServer", { url, caPem, adminToken, nobodyToken, serviceAccountKeyPem });
  const admin = adminOf(server);
  await installDefinitions(admin);
  await admin.close();
  return server.stop;
}
