import { hash } from "node:crypto";
import type { Digest } from "../envoy/resource.ts";

const HEX_DIGITS = 32;

/** 128 bits of SHA-256: versions and cluster names are compared across replicas and restarts, and tenants choose the input. */
export const digest: Digest = (data) => hash("sha256", data, "hex").slice(0, HEX_DIGITS);
