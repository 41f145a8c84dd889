import type { EndpointSlice } from "../../src/api/endpoint-slice.ts";
import type { ObjectChange } from "../../src/api/kinds.ts";
import { type ObjectKey, objectKey } from "../../src/api/object-key.ts";
import type { KubeService } from "../../src/api/service.ts";
import { backendIdentity } from "../cases.ts";
import { startPolyglot } from "../parts/backends.ts";
import type { Listening } from "../parts/listening.ts";

/** Real backends for the Services of the cases, kept from case to case. Each tells its `namespace/service/port`. */
export class StandIns {
  readonly #backends = new Map<string, Promise<Listening>>();

  /**
   * The same objects with endpoints that are there: nobody listens at the addresses and names that the cases give. A
   * Service whose endpoints are all out keeps none.
   */
  async reachable(changes: readonly ObjectChange[]): Promise<readonly ObjectChange[]> {
    const services = new Map<ObjectKey, KubeService>();
    for (const { key, ...change } of changes) {
      if (change.kind === "applied" && change.object.kind === "Service") services.set(key, change.object);
    }
    const withOwnEndpoints = new Set<ObjectKey>();
    const kept = changes.filter((change) => {
      if (change.kind !== "applied" || change.object.kind !== "EndpointSlice") return true;
      const { endpoints, ports, metadata, service } = change.object;
      const owner = objectKey("Service", metadata.namespace, service ?? "");
      const portNames = new Set(services.get(owner)?.ports.map(({ name }) => name));
      const isKept = !ports.some(({ name }) => portNames.has(name)) || endpoints.every(({ state }) => state === "out");
      if (isKept) withOwnEndpoints.add(owner);
      return isKept;
    });
    const substituted: ObjectChange[] = [];
    for (const change of kept) {
      const service = services.get(change.key);
      if (service === undefined || withOwnEndpoints.has(change.key)) substituted.push(change);
      else substituted.push(...(await this.#standIn(change.key, service)));
    }
    return substituted;
  }

  async stop(): Promise<void> {
    const backends = await Promise.all(this.#backends.values());
    await Promise.all(backends.map((backend) => backend.stop()));
  }

  async #standIn(key: ObjectKey, service: KubeService): Promise<readonly ObjectChange[]> {
    const { namespace, name } = service.metadata;
    const ports = await Promise.all(
      service.ports.map(async ({ name: portName, port }) => {
        const backend = await this.#backend(`${namespace}/${name}/${port}`);
        return { name: portName, port: backend.port };
      }),
    );
    const sliceName = `${name}-stand-in`;
    const slice: EndpointSlice = {
      kind: "EndpointSlice",
      metadata: { ...service.metadata, name: sliceName },
      service: name,
      family: "IPv4",
      ports,
      endpoints: [{ address: "127.0.0.1", state: "ready" }],
      notes: { faults: [], warnings: [] },
    };
    return [
      // An ExternalName has to be spoken for, in clear text; all others are spoken to as they ask for.
      { kind: "applied", key, object: { ...service, isStandIn: service.externalName !== undefined } },
      { kind: "applied", key: objectKey("EndpointSlice", namespace, sliceName), object: slice },
    ];
  }

  #backend(name: string): Promise<Listening> {
    const backend = this.#backends.get(name) ?? startPolyglot({ name, identity: backendIdentity() });
    this.#backends.set(name, backend);
    return backend;
  }
}
