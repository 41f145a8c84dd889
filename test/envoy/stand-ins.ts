import type { EndpointSlice } from "../../src/api/endpoint-slice.ts";
import type { ObjectChange } from "../../src/api/kinds.ts";
import { type ObjectKey, objectKey } from "../../src/api/object-key.ts";
import type { KubeService } from "../../src/api/service.ts";
import { backendIdentity } from "../cases.ts";
import type { Identity } from "../parts/authority.ts";
import { startPolyglot } from "../parts/backends.ts";
import type { Listening } from "../parts/listening.ts";

/** Where the stand-in of a Service listens, and as whom. */
export type StandInPlace = {
  readonly address: string;
  /** On the ports of the Service; otherwise on any. */
  readonly hasPortsOfService: boolean;
  readonly identity: Identity;
};

/** A backend for each port of a Service. */
export type StandIn = {
  readonly key: ObjectKey;
  readonly service: KubeService;
  readonly address: string;
  readonly ports: readonly { readonly name: string; readonly port: number }[];
};

/** What has to become of objects so that their Services lead to backends that are there. */
export type Substitution = {
  /** EndpointSlices to leave out: nobody listens at their addresses. */
  readonly dropped: ReadonlySet<ObjectKey>;
  readonly standIns: readonly StandIn[];
};

/**
 * Real backends for the Services of the cases, kept from case to case. Each tells its `namespace/service/port`. A Service
 * whose endpoints are all out keeps none.
 */
export class StandIns {
  readonly #placeOf: (service: KubeService) => StandInPlace;
  readonly #backends = new Map<string, Promise<Listening>>();

  constructor(placeOf: (service: KubeService) => StandInPlace = onLoopback) {
    this.#placeOf = placeOf;
  }

  async substitute(changes: readonly ObjectChange[]): Promise<Substitution> {
    const services = new Map<ObjectKey, KubeService>();
    for (const { key, ...change } of changes) {
      if (change.kind === "applied" && change.object.kind === "Service") services.set(key, change.object);
    }
    const withOwnEndpoints = new Set<ObjectKey>();
    const dropped = new Set<ObjectKey>();
    for (const { key, ...change } of changes) {
      if (change.kind !== "applied" || change.object.kind !== "EndpointSlice") continue;
      const { endpoints, ports, metadata, service } = change.object;
      const owner = objectKey("Service", metadata.namespace, service ?? "");
      const portNames = new Set(services.get(owner)?.ports.map(({ name }) => name));
      const isKept = !ports.some(({ name }) => portNames.has(name)) || endpoints.every(({ state }) => state === "out");
      if (isKept) withOwnEndpoints.add(owner);
      else dropped.add(key);
    }
    const standIns = [...services].filter(([key]) => !withOwnEndpoints.has(key));
    return { dropped, standIns: await Promise.all(standIns.map(([key, service]) => this.#standIn(key, service))) };
  }

  /** The same objects with endpoints that are there, on the loopback. */
  async reachable(changes: readonly ObjectChange[]): Promise<readonly ObjectChange[]> {
    const { dropped, standIns } = await this.substitute(changes);
    const byKey = new Map(standIns.map((standIn) => [standIn.key, standIn]));
    return changes
      .filter(({ key }) => !dropped.has(key))
      .flatMap((change) => {
        const standIn = byKey.get(change.key);
        return standIn === undefined ? [change] : standInObjects(standIn);
      });
  }

  async stop(): Promise<void> {
    const backends = await Promise.all(this.#backends.values());
    await Promise.all(backends.map((backend) => backend.stop()));
  }

  async #standIn(key: ObjectKey, service: KubeService): Promise<StandIn> {
    const { namespace, name } = service.metadata;
    const place = this.#placeOf(service);
    const ports = await Promise.all(
      service.ports.map(async ({ name: portName, port }) => {
        const backend = await this.#backend(`${namespace}/${name}/${port}`, place, port);
        return { name: portName, port: backend.port };
      }),
    );
    return { key, service, address: place.address, ports };
  }

  #backend(name: string, { address, hasPortsOfService, identity }: StandInPlace, port: number): Promise<Listening> {
    const where = hasPortsOfService ? { address, port } : { address };
    const id = `${name} on ${Object.values(where).join(" ")}`;
    const backend = this.#backends.get(id) ?? startPolyglot({ name, identity, ...where });
    this.#backends.set(id, backend);
    return backend;
  }
}

function onLoopback(): StandInPlace {
  return { address: "127.0.0.1", hasPortsOfService: false, identity: backendIdentity() };
}

function standInObjects({ key, service, address, ports }: StandIn): readonly ObjectChange[] {
  const { namespace, name } = service.metadata;
  const sliceName = `${name}-stand-in`;
  const slice: EndpointSlice = {
    kind: "EndpointSlice",
    metadata: { ...service.metadata, name: sliceName },
    service: name,
    family: "IPv4",
    ports,
    endpoints: [{ address, state: "ready" }],
    notes: { faults: [], warnings: [] },
  };
  return [
    // An ExternalName has to be spoken for, in clear text; all others are spoken to as they ask for.
    { kind: "applied", key, object: { ...service, isStandIn: service.externalName !== undefined } },
    { kind: "applied", key: objectKey("EndpointSlice", namespace, sliceName), object: slice },
  ];
}
