import { isIpv4, parseIpv6 } from "../api/ip-address.ts";
import { isRecord } from "../api/is-record.ts";
import { sameValue } from "../api/same-value.ts";
import type { Decision } from "./ingress-route-status.ts";
import type { Address, IngressWish } from "./wish.ts";

/** The addresses in the status of an Ingress, or of a Service: both have the same form. Undefined when it has another. */
export function readAddresses(status: unknown): readonly Address[] | undefined {
  if (status === undefined) return [];
  if (!isRecord(status)) return undefined;
  const { loadBalancer = {} } = status;
  if (!isRecord(loadBalancer)) return undefined;
  const { ingress = [] } = loadBalancer;
  if (!Array.isArray(ingress)) return undefined;
  const addresses: Address[] = [];
  for (const item of ingress) {
    const { ip, hostname } = isRecord(item) ? item : {};
    if (typeof ip === "string" && ip !== "") addresses.push({ ip });
    else if (typeof hostname === "string" && hostname !== "") addresses.push({ hostname });
    else return undefined;
  }
  return addresses;
}

/** The address that a text stands for: an IP address, or else a host name. */
export function addressOf(text: string): Address {
  return isIpv4(text) || parseIpv6(text) !== undefined ? { ip: text } : { hostname: text.toLowerCase() };
}

export function decideIngress({ addresses }: IngressWish, seen: readonly Address[] | undefined): Decision {
  if (sameValue(addresses, seen)) return { kind: "same" };
  return { kind: "write", status: { loadBalancer: { ingress: addresses } } };
}
