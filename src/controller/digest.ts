import { createHash } from "node:crypto";
import type { Digest } from "../envoy/resource.ts";

const BYTES = 16;

/** 128 bits of SHA-256: versions and cluster names are compared across replicas and restarts, and tenants choose the input. */
export const digest: Digest = (data) => createHash("sha256").update(data).digest().toString("hex", 0, BYTES);
