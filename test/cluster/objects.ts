import { type ObjectKey, objectKey } from "../../src/api/object-key.ts";
import { byCodeUnit } from "../../src/api/order.ts";
import { eventually } from "../envoy/harness.ts";
import {
  collectionPath,
  type KubeAdmin,
  type KubeObject,
  KubeRefusal,
  type ObjectRef,
  type Query,
  refOf,
} from "../parts/kube-admin.ts";

/** Of two objects of these kinds that want the same, the older one gets it. */
const KINDS_OF_AGE: readonly string[] = ["IngressRoute", "Ingress"];

/** The objects of our kinds in a cluster where nobody else makes any. */
export class ClusterObjects {
  readonly #admin: KubeAdmin;
  readonly #namespaces = new Map([["default", Promise.resolve()]]);
  readonly #refs = new Map<ObjectKey, ObjectRef>();

  constructor(admin: KubeAdmin) {
    this.#admin = admin;
  }

  /**
   * Makes these the only ones, all of them anew. Where the given ones have timestamps, the API server's are in the same
   * order. Returns the uid of each; undefined for those that are gone.
   */
  async replace(objects: readonly KubeObject[]): Promise<ReadonlyMap<ObjectKey, string | undefined>> {
    const uids = new Map<ObjectKey, string | undefined>([...this.#refs.keys()].map((key) => [key, undefined]));
    await Promise.all([...this.#refs.values()].map((ref) => this.#admin.remove(ref)));
    this.#refs.clear();
    const create = async (object: KubeObject): Promise<KubeObject> => {
      const created = await this.#create(object);
      uids.set(keyOf(object), created.metadata.uid);
      return created;
    };
    await all(objects.filter(({ kind }) => !KINDS_OF_AGE.includes(kind)).map(create));
    let youngest = "";
    for (const generation of generations(objects.filter(({ kind }) => KINDS_OF_AGE.includes(kind)))) {
      if (youngest !== "") await eventually(() => Date.now() >= Date.parse(youngest) + 1_000, 2_000);
      for (const object of generation) youngest = `${(await create(object)).metadata.creationTimestamp}`;
    }
    return uids;
  }

  /** What the API server says to an object that it does not take. */
  async refusalOf(object: KubeObject): Promise<string | undefined> {
    try {
      await this.#post(object, { dryRun: "All" });
      return undefined;
    } catch (error) {
      if (!(error instanceof KubeRefusal)) throw error;
      return error.message;
    }
  }

  async #create(object: KubeObject): Promise<KubeObject> {
    const created = await this.#post(object, {});
    this.#refs.set(keyOf(object), refOf(object));
    return created;
  }

  /** As kubectl does it: unknown fields are refused where there is a schema. */
  async #post(object: KubeObject, query: Query): Promise<KubeObject> {
    const { kind, namespace, apiVersion } = refOf(object);
    if (namespace !== undefined) await this.#ensureNamespace(namespace);
    return this.#admin.request({
      method: "POST",
      path: collectionPath(kind, namespace, apiVersion),
      query: { fieldValidation: "Strict", ...query },
      body: object,
    });
  }

  #ensureNamespace(name: string): Promise<void> {
    const made = this.#namespaces.get(name) ?? this.#makeNamespace(name);
    this.#namespaces.set(name, made);
    return made;
  }

  async #makeNamespace(name: string): Promise<void> {
    await this.#admin.apply({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
  }
}

/** When one is refused the others are made all the same, and have to be known. */
async function all(creations: readonly Promise<unknown>[]): Promise<void> {
  await Promise.allSettled(creations);
  await Promise.all(creations);
}

/**
 * From the oldest to the youngest; those without a timestamp are the oldest. Those of one generation may be made in two
 * different seconds, so they are in the order that settles a tie.
 */
function generations(objects: readonly KubeObject[]): readonly (readonly KubeObject[])[] {
  const byTime = new Map<string, KubeObject[]>();
  for (const object of [...objects].sort((a, b) => byCodeUnit(keyOf(a), keyOf(b)))) {
    const time = `${object.metadata.creationTimestamp ?? ""}`;
    byTime.set(time, [...(byTime.get(time) ?? []), object]);
  }
  return [...byTime].sort(([a], [b]) => byCodeUnit(a, b)).map(([, generation]) => generation);
}

export function keyOf({ kind, metadata: { namespace, name } }: KubeObject): ObjectKey {
  return objectKey(kind, namespace ?? "", name);
}
