import { inject } from "vitest";
import { type ApiServerAddress, adminOf } from "../parts/api-server.ts";
import type { KubeAdmin } from "../parts/kube-admin.ts";

/** The API server that all test files share: each test makes a namespace of its own in it. */
export function sharedServer(): ApiServerAddress {
  return inject("apiServer");
}

/** A client of the shared API server who may do everything. */
export function sharedCluster(): KubeAdmin {
  return adminOf(sharedServer());
}
