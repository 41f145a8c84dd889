import { compact } from "./compact.ts";
import { type Notes, ObjectReader } from "./decode.ts";
import { isIpv4, parseIpv6 } from "./ip-address.ts";
import { decodeMetadata, type Metadata } from "./metadata.ts";

/** A discovery.k8s.io/v1 EndpointSlice, trimmed to usable addresses. */
export type EndpointSlice = {
  readonly kind: "EndpointSlice";
  readonly metadata: Metadata;
  /** Name of the Service it belongs to, from the label `kubernetes.io/service-name`. */
  readonly service: string | undefined;
  readonly family: "IPv4" | "IPv6";
  readonly ports: readonly { readonly name: string; readonly port: number }[];
  readonly endpoints: readonly Endpoint[];
  readonly notes: Notes;
};

export type Endpoint = {
  readonly address: string;
  /** `draining` is serving while terminating: used when nothing is ready. */
  readonly state: "ready" | "draining" | "out";
};

export function decodeEndpointSlice(raw: unknown): EndpointSlice {
  const { reader, notes } = ObjectReader.open(raw, () => ({ refuse: false, reason: "" }));
  const { metadata, reader: metadataReader } = decodeMetadata(reader);
  const family = reader.string("addressType") ?? "IPv4";
  if (family !== "IPv4" && family !== "IPv6") reader.warn("addressType", "only IPv4 and IPv6 endpoints are used");
  const ports = (reader.objects("ports") ?? []).flatMap(decodePort);
  const endpoints = reader.objects("endpoints") ?? [];
  return {
    kind: "EndpointSlice",
    // The API server counts edits of labels too, which are none to us.
    metadata: { ...metadata, generation: undefined },
    service: metadataReader?.object("labels")?.string("kubernetes.io/service-name"),
    family: family === "IPv6" ? "IPv6" : "IPv4",
    ports: compact(ports),
    endpoints:
      family === "IPv4" || family === "IPv6" ? compact(endpoints.flatMap((item) => decodeEndpoint(item, family))) : [],
    notes,
  };
}

function decodePort(reader: ObjectReader): EndpointSlice["ports"] {
  const port = reader.integer("port");
  const protocol = reader.string("protocol") ?? "TCP";
  if (port === undefined || protocol !== "TCP") return [];
  if (port < 1 || port > 65535) {
    reader.fault("port", "must be from 1 to 65535");
    return [];
  }
  return [{ name: reader.string("name") ?? "", port }];
}

function decodeEndpoint(reader: ObjectReader, family: "IPv4" | "IPv6"): Endpoint[] {
  const conditions = reader.object("conditions");
  // The API says that an absent `ready` is to be read as true, and an absent `serving` as `ready`.
  const ready = conditions?.boolean("ready") ?? true;
  const serving = conditions?.boolean("serving") ?? ready;
  const terminating = conditions?.boolean("terminating") ?? false;
  const state = ready ? "ready" : serving && terminating ? "draining" : "out";
  return (reader.strings("addresses") ?? []).flatMap((address) => {
    if (family === "IPv4" ? isIpv4(address) : parseIpv6(address) !== undefined) return [{ address, state }];
    // Envoy refuses a whole load assignment for one address that it cannot read.
    reader.fault("addresses", `must be ${family} addresses`);
    return [];
  });
}
