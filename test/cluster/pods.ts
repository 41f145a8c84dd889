import type { ObjectChange } from "../../src/api/kinds.ts";
import { type ObjectKey, objectKey } from "../../src/api/object-key.ts";
import type { KubeService } from "../../src/api/service.ts";
import { type StandIn, type StandInPlace, StandIns } from "../envoy/stand-ins.ts";
import type { Identity } from "../parts/authority.ts";
import type { KubeObject } from "../parts/kube-admin.ts";
import { type NameServer, startNameServer } from "../parts/name-server.ts";

/** Objects as they are written, and decoded in the same order. */
export type Written = { readonly raw: readonly KubeObject[]; readonly changes: readonly ObjectChange[] };

/**
 * A backend in the pod network for every Service, each at an address of its own, kept from case to case. What an ExternalName
 * stands for is one too: a name server knows where.
 */
export class Pods {
  readonly names: NameServer;
  readonly #standIns: StandIns;
  readonly #addresses = new Map<ObjectKey, string>();

  /** `identity` is what those show that speak TLS. */
  static async start(identity: Identity): Promise<Pods> {
    return new Pods(await startNameServer(), identity);
  }

  private constructor(names: NameServer, identity: Identity) {
    this.names = names;
    this.#standIns = new StandIns((service) => this.#placeOf(service, identity));
  }

  /** The same objects with endpoints that are there. */
  async reachable({ raw, changes }: Written): Promise<readonly KubeObject[]> {
    const { dropped, standIns } = await this.#standIns.substitute(changes);
    for (const { service, address } of standIns) {
      if (service.externalName !== undefined) this.names.tell(service.externalName, address);
    }
    const kept = raw.filter(
      ({ kind, metadata }) => !dropped.has(objectKey(kind, metadata.namespace ?? "", metadata.name)),
    );
    return [...kept, ...standIns.filter(({ service }) => service.externalName === undefined).map(sliceOf)];
  }

  async stop(): Promise<void> {
    await this.#standIns.stop();
    await this.names.stop();
  }

  #placeOf(service: KubeService, identity: Identity): StandInPlace {
    const { namespace, name } = service.metadata;
    const key = objectKey("Service", namespace, name);
    const address = this.#addresses.get(key) ?? podAddress(this.#addresses.size);
    this.#addresses.set(key, address);
    return { address, hasPortsOfService: service.externalName !== undefined, identity };
  }
}

function podAddress(index: number): string {
  return `10.244.${1 + Math.floor(index / 250)}.${1 + (index % 250)}`;
}

function sliceOf({ service, address, ports }: StandIn): KubeObject {
  const { namespace, name } = service.metadata;
  return {
    apiVersion: "discovery.k8s.io/v1",
    kind: "EndpointSlice",
    metadata: { namespace, name: `${name}-stand-in`, labels: { "kubernetes.io/service-name": name } },
    addressType: "IPv4",
    ports,
    endpoints: [{ addresses: [address] }],
  };
}
