import type { CertificateDelegation } from "../api/certificate-delegation.ts";
import type { EndpointSlice } from "../api/endpoint-slice.ts";
import { Groups } from "../api/groups.ts";
import { hostnameFault, hostnamePatternFault, ingressHost } from "../api/hostname.ts";
import type { Ingress } from "../api/ingress.ts";
import type { IngressClass } from "../api/ingress-class.ts";
import type { IngressRoute } from "../api/ingress-route.ts";
import type { ApiObject, ObjectChange } from "../api/kinds.ts";
import { type ObjectKey, objectKey } from "../api/object-key.ts";
import { byCodeUnit } from "../api/order.ts";
import { sameValue } from "../api/same-value.ts";
import type { Secret } from "../api/secret.ts";
import type { KubeService } from "../api/service.ts";
import type { Fact, Unit, View } from "./view.ts";

/** What a batch of changes has made different. */
export type Touched = {
  readonly facts: ReadonlySet<Fact>;
  /** Units that gained or lost a claim, or whose claimant changed; some may have no claim left. */
  readonly units: ReadonlySet<Unit>;
  /** Services, as `namespace/name`, whose EndpointSlices changed. */
  readonly endpoints: ReadonlySet<string>;
  readonly objects: ReadonlySet<ObjectKey>;
};

/** All objects, with the indexes that let a question be answered without a search. */
export class Store implements View {
  readonly #objects = new Map<ObjectKey, ApiObject>();
  readonly #claims = new Groups<Unit, ObjectKey, IngressRoute>();
  readonly #ingresses = new Groups<Unit, ObjectKey, Ingress>();
  /** By namespace. */
  readonly #certificateDelegations = new Groups<string, ObjectKey, CertificateDelegation>();
  readonly #slices = new Groups<string, ObjectKey, EndpointSlice>();

  /** Changes that leave an object's meaning alone (its status, its labels) touch nothing. */
  apply(changes: Iterable<ObjectChange>): Touched {
    const touched = {
      facts: new Set<Fact>(),
      units: new Set<Unit>(),
      endpoints: new Set<string>(),
      objects: new Set<ObjectKey>(),
    };
    for (const change of changes) {
      const before = this.#objects.get(change.key);
      const after = change.kind === "applied" ? change.object : undefined;
      if (before === undefined ? after === undefined : sameValue(before, after)) continue;
      touched.objects.add(change.key);
      if (before !== undefined) this.#index(change.key, before, "remove", touched);
      if (after !== undefined) this.#index(change.key, after, "add", touched);
      if (after === undefined) this.#objects.delete(change.key);
      else this.#objects.set(change.key, after);
    }
    return touched;
  }

  get(key: ObjectKey): ApiObject | undefined {
    return this.#objects.get(key);
  }

  claims(unit: Unit): readonly IngressRoute[] {
    return byKey(this.#claims.of(unit));
  }

  ingressRoute(namespace: string, name: string): IngressRoute | undefined {
    const object = this.#objects.get(objectKey("IngressRoute", namespace, name));
    return object?.kind === "IngressRoute" ? object : undefined;
  }

  ingresses(unit: Unit): readonly Ingress[] {
    return byKey(this.#ingresses.of(unit));
  }

  ingressClass(name: string): IngressClass | undefined {
    const object = this.#objects.get(ingressClassKey(name));
    return object?.kind === "IngressClass" ? object : undefined;
  }

  service(namespace: string, name: string): KubeService | undefined {
    const object = this.#objects.get(objectKey("Service", namespace, name));
    return object?.kind === "Service" ? object : undefined;
  }

  secret(namespace: string, name: string): Secret | undefined {
    const object = this.#objects.get(objectKey("Secret", namespace, name));
    return object?.kind === "Secret" ? object : undefined;
  }

  certificateDelegations(namespace: string): readonly CertificateDelegation[] {
    return byKey(this.#certificateDelegations.of(namespace));
  }

  /** The EndpointSlices of one Service, in the order of their keys. */
  slices(namespace: string, service: string): readonly EndpointSlice[] {
    return byKey(this.#slices.of(serviceId(namespace, service)));
  }

  #index(
    key: ObjectKey,
    object: ApiObject,
    how: "add" | "remove",
    touched: { facts: Set<Fact>; units: Set<Unit>; endpoints: Set<string> },
  ): void {
    switch (object.kind) {
      case "IngressRoute": {
        touched.facts.add(objectFact(key));
        const unit = unitOf(key, object);
        if (unit === undefined) return;
        touched.units.add(unit);
        updateIndex(this.#claims, unit, key, how === "add" ? object : undefined);
        return;
      }
      case "Ingress":
        for (const unit of unitsOfIngress(key, object)) {
          touched.units.add(unit);
          updateIndex(this.#ingresses, unit, key, how === "add" ? object : undefined);
        }
        return;
      case "IngressClass":
      case "Service":
      case "Secret":
        touched.facts.add(objectFact(key));
        return;
      case "TLSCertificateDelegation": {
        const { namespace } = object.metadata;
        touched.facts.add(delegationsFact(namespace));
        updateIndex(this.#certificateDelegations, namespace, key, how === "add" ? object : undefined);
        return;
      }
      case "EndpointSlice": {
        if (object.service === undefined) return;
        const service = serviceId(object.metadata.namespace, object.service);
        touched.endpoints.add(service);
        updateIndex(this.#slices, service, key, how === "add" ? object : undefined);
        return;
      }
    }
  }
}

/** The fact that an object is as it is, or is not there. */
export function objectFact(key: ObjectKey): Fact {
  return key as string as Fact;
}

/** The fact that a namespace lets others use its Secrets as it does. */
export function delegationsFact(namespace: string): Fact {
  return `delegations/${namespace}` as Fact;
}

/** The host that a root claims, or the root's own name when it names no usable host; undefined for what is not a root. */
function unitOf(key: ObjectKey, ingressRoute: IngressRoute): Unit | undefined {
  if (ingressRoute.virtualHost === undefined) return undefined;
  const { fqdn } = ingressRoute.virtualHost;
  // A host name holds no slash, so the two cannot meet.
  return (fqdn === undefined || hostnameFault(fqdn) !== undefined ? key : fqdn.toLowerCase()) as string as Unit;
}

/** Everything that no host of its own is claimed for: rules without a host, and default backends. */
const ANY_HOST = "*" as string as Unit;

/** The hosts that an Ingress has a say in; its own name when there are none. */
function unitsOfIngress(key: ObjectKey, { rules, defaultBackend, notes }: Ingress): ReadonlySet<Unit> {
  const units = new Set<Unit>();
  for (const { host } of rules) {
    const name = ingressHost(host);
    if (hostnamePatternFault(name) === undefined) units.add(name as Unit);
  }
  if (defaultBackend !== undefined) units.add(ANY_HOST);
  // A host that could not be read must not pass for every host.
  if (notes.faults.length > 0) units.delete(ANY_HOST);
  if (units.size === 0) units.add(key as string as Unit);
  return units;
}

export function ingressClassKey(name: string): ObjectKey {
  return objectKey("IngressClass", "", name);
}

/** `namespace/service`, in one piece as a key is, because it is kept for many. */
export function serviceId(namespace: string, service: string): string {
  return [namespace, service].join("/");
}

function byKey<Item>(items: ReadonlyMap<ObjectKey, Item>): readonly Item[] {
  return [...items].sort(([a], [b]) => byCodeUnit(a, b)).map(([, item]) => item);
}

function updateIndex<Outer, Item>(
  index: Groups<Outer, ObjectKey, Item>,
  at: Outer,
  key: ObjectKey,
  item: Item | undefined,
): void {
  if (item === undefined) index.delete(at, key);
  else index.set(at, key, item);
}
