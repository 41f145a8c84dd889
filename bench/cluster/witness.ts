import { eventually } from "../../test/envoy/harness.ts";
import type { KubeAdmin, KubeObject, WatchEvent } from "../../test/parts/kube-admin.ts";

const KINDS = ["IngressRoute", "EndpointSlice"] as const;
const PATIENCE_MS = 30_000;

/** A plain client that watches beside the controller: when it hears of a change, the API server has told everybody. */
export class Witness {
  /** When an event came, by what it says. */
  readonly #heard = new Map<string, number>();
  readonly #waiting = new Map<string, (atMs: number) => void>();
  /** Names of IngressRoutes with a status that is not of their last generation, among those that were heard of. */
  readonly #untold = new Set<string>();
  #failure: unknown;

  /** Resolves when it is told of everything that happens from then on. */
  static async start(admin: KubeAdmin): Promise<Witness> {
    const witness = new Witness();
    for (const kind of KINDS) {
      // A kind that has just been defined is not there for a moment.
      const { metadata } = await eventually(() => admin.list(kind), PATIENCE_MS);
      void witness.#listen(admin, kind, metadata.resourceVersion);
    }
    return witness;
  }

  /** Resolves to the time when it heard of this version of an object. */
  heardOf(name: string, resourceVersion: string): Promise<number> {
    return this.#wait(`${name} ${resourceVersion}`);
  }

  /** Resolves to the time when it heard that the object of this name is gone. */
  heardOfEnd(name: string): Promise<number> {
    return this.#wait(`${name} gone`);
  }

  /** How many IngressRoutes that it has heard of lack a status of their last generation. */
  get untold(): number {
    return this.#untold.size;
  }

  /** Nobody will ask any more for what it has heard so far. */
  forget(): void {
    this.#heard.clear();
  }

  #wait(what: string): Promise<number> {
    const heard = this.#heard.get(what);
    if (heard !== undefined) return Promise.resolve(heard);
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`the API server does not tell of ${what}`)), PATIENCE_MS);
      this.#waiting.set(what, (atMs) => {
        clearTimeout(late);
        this.#waiting.delete(what);
        resolve(atMs);
      });
    });
  }

  async #listen(admin: KubeAdmin, kind: string, version: string): Promise<void> {
    let resourceVersion = version;
    try {
      // The API server ends the watch of a client that is slow for a moment, as any may be on a busy machine.
      for (;;) {
        for await (const event of admin.watch(kind, undefined, { resourceVersion })) {
          if (event.type === "ERROR") throw new Error(`a watch of the witness failed: ${JSON.stringify(event.object)}`);
          resourceVersion = event.object.metadata.resourceVersion ?? resourceVersion;
          this.#hear(event);
        }
      }
    } catch (error) {
      this.#failure = error;
    }
  }

  #hear({ type, object }: WatchEvent): void {
    const atMs = performance.now();
    const { name, resourceVersion } = object.metadata;
    const what = `${name} ${type === "DELETED" ? "gone" : resourceVersion}`;
    this.#heard.set(what, atMs);
    this.#waiting.get(what)?.(atMs);
    if (type === "DELETED" || isTold(object)) this.#untold.delete(name);
    else this.#untold.add(name);
  }
}

function isTold({ kind, metadata, status }: KubeObject): boolean {
  if (kind !== "IngressRoute") return true;
  const { conditions = [] } = Object(status);
  const isCurrent = (condition: unknown) => Object(condition).observedGeneration === metadata.generation;
  return conditions.length > 0 && conditions.every(isCurrent);
}
