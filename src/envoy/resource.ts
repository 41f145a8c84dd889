import type * as ir from "../ir/ir.ts";

export type ResourceType = "cluster" | "loadAssignment" | "listener" | "scopedRoute" | "secret";

/** One named Envoy resource, encoded once. Equal bytes have equal versions. */
export type Resource = {
  readonly type: ResourceType;
  readonly name: string;
  /** Digest of `body`. */
  readonly version: string;
  /** The encoded message itself, without an Any around it. */
  readonly body: Uint8Array;
  /** Names of the clusters that it refers to, sorted. */
  readonly clusters: readonly string[];
  /** For a cluster whose endpoints come over EDS: the name of its load assignment. */
  readonly loadAssignment?: string;
  /**
   * Set for a cluster that Envoy uses only when each of its endpoints has been checked once, if scopes are to wait for that:
   * the longest that such a check takes.
   */
  readonly firstCheckMs?: number;
  /** Keys of the objects that it was made of, sorted. */
  readonly origins: readonly string[];
};

/** A resource whose encoding may turn out not to be needed. */
export type Draft = Omit<Resource, "version" | "body"> & {
  /** Whether equal names mean equal content, so that a resource that is there need not be encoded again. */
  readonly nameIsContent: boolean;
  /** For a cluster with a load assignment: what it lists. */
  readonly servicePort?: ir.ServicePort;
  /** And whether it has a health check. */
  readonly checksEndpoints?: boolean;
  readonly encode: () => Uint8Array;
};

/** A digest of some bytes or text in hexadecimal, at least 32 digits, without known collisions. */
export type Digest = (data: Uint8Array | string) => string;
