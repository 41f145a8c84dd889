import type { ObjectKey } from "../api/object-key.ts";
import { sameValue } from "../api/same-value.ts";
import { readIngressRouteStatus, type SeenIngressRouteStatus } from "./ingress-route-status.ts";
import { readAddresses } from "./ingress-status.ts";
import type { Address } from "./wish.ts";

/** The status of an object as it was found, whoever wrote it. */
export type SeenStatus =
  | { readonly kind: "IngressRoute"; readonly status: SeenIngressRouteStatus }
  | { readonly kind: "Ingress"; readonly addresses: readonly Address[] | undefined };

/** An object as the API server held it, as far as its status is concerned. */
export type SeenObject = { readonly uid: string; readonly resourceVersion: string; readonly found: SeenStatus };

export function readStatus(key: ObjectKey, status: unknown): SeenStatus {
  return readStatusOf(key.startsWith("Ingress/") ? "Ingress" : "IngressRoute", status);
}

function readStatusOf(kind: SeenStatus["kind"], status: unknown): SeenStatus {
  if (kind === "Ingress") return { kind, addresses: readAddresses(status) };
  return { kind, status: readIngressRouteStatus(status) };
}

/**
 * Versions of one resource are numbers that grow, which Kubernetes promises since 1.35 and has kept always. Where they are
 * not, whatever comes last counts.
 */
export function isOlder(version: string, other: string): boolean {
  if (!/^[0-9]+$/.test(version) || !/^[0-9]+$/.test(other)) return false;
  return BigInt(version) < BigInt(other);
}

/** Whether what came of a write is what was written. */
export function isTaken(status: unknown, found: SeenStatus): boolean {
  const written = readStatusOf(found.kind, status);
  if (written.kind === "Ingress" || found.kind === "Ingress") return sameValue(written, found);
  const ours = ({ currentStatus, description, conditions }: SeenIngressRouteStatus) => [
    currentStatus,
    description,
    conditions,
  ];
  return sameValue(ours(written.status), ours(found.status));
}
