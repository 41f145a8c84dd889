import type { Cache } from "./cache.ts";
import { GONE } from "./ledger.ts";
import type { XdsStream } from "./stream.ts";
import { RESOURCE_TYPES, type ResourceType } from "./type-urls.ts";

/** One connected Envoy. */
export type EnvoyIdentity = {
  /** Of the node in its bootstrap; empty until its first request. */
  readonly nodeId: string;
  /** Address and port of the connection. */
  readonly address: string;
  /** When it connected, on the clock given to the server. */
  readonly connectedAt: number;
};

/** What it calls itself, or else where it is. */
export function nameOfEnvoy({ nodeId, address }: EnvoyIdentity): string {
  return nodeId === "" ? address : nodeId;
}

export type RefusedResource = {
  readonly name: string;
  readonly version: string;
  readonly message: string;
  readonly origins: readonly string[];
};

export type TypeStatus = {
  readonly type: ResourceType;
  /** Resources that this Envoy has been sent, or held when it connected. */
  readonly sent: number;
  /** How many of them it has accepted in the version last sent. */
  readonly accepted: number;
  readonly refused: readonly RefusedResource[];
};

export type EnvoyStatus = EnvoyIdentity & { readonly types: readonly TypeStatus[] };

/** What one Envoy does with the current version of a resource. With `runsAnother` it goes on with one that it accepted before. */
export type Acceptance =
  | { readonly kind: "accepted" }
  | { readonly kind: "pending"; readonly runsAnother: boolean }
  | { readonly kind: "refused"; readonly runsAnother: boolean; readonly message: string };

/** Walks over all names: for a page somebody looks at, not for every change. */
export function typeStatuses(cache: Cache, stream: XdsStream): readonly TypeStatus[] {
  return RESOURCE_TYPES.map((type) => {
    let sent = 0;
    let accepted = 0;
    const refused: RefusedResource[] = [];
    const ledger = stream.ledger(type);
    for (const [name, item] of ledger.items) {
      if (item.sent !== undefined && item.sent !== GONE) {
        sent++;
        if (ledger.isAccepted(name)) accepted++;
      }
      const version = cache.get(type, name)?.version;
      if (item.refused !== undefined && item.refused.version === version) refused.push({ name, ...item.refused });
    }
    return { type, sent, accepted, refused };
  });
}

/** A resource that the cache does not have is accepted when Envoy does not have it either. */
export function acceptance(cache: Cache, stream: XdsStream, type: ResourceType, name: string): Acceptance {
  const item = stream.ledger(type).items.get(name);
  const version = cache.get(type, name)?.version;
  const runsAnother = item?.accepted !== undefined && item.accepted !== GONE;
  if (version === undefined) {
    return item === undefined || item.accepted === GONE ? { kind: "accepted" } : { kind: "pending", runsAnother };
  }
  // A secret is sent when it is asked for: of one that was not, there is nothing to accept.
  if (type === "secret" && !item?.subscribed) return { kind: "accepted" };
  if (item?.refused?.version === version) return { kind: "refused", runsAnother, message: item.refused.message };
  // Acknowledged alone is not enough: after the refusal of a larger response it is unknown what of it Envoy runs.
  const isAccepted = stream.ledger(type).isAccepted(name) && item?.sent === version;
  return isAccepted ? { kind: "accepted" } : { kind: "pending", runsAnother };
}
