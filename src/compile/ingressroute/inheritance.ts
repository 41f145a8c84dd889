import type { HealthCheck } from "../../api/ingress-route.ts";
import type { ObjectKey } from "../../api/object-key.ts";
import { MAX_INHERITED } from "../problems.ts";

/** Which health checks objects inherit below one root. What an object publishes differs with them, and is made for each. */
export class Inheritance {
  readonly #byObject = new Map<HealthCheck, number>();
  readonly #byText = new Map<string, number>();
  readonly #inherited = new Map<ObjectKey, Set<number>>();

  /** The same for equal health checks; 0 for none. */
  idOf(healthCheck: HealthCheck | undefined): number {
    if (healthCheck === undefined) return 0;
    const known = this.#byObject.get(healthCheck);
    if (known !== undefined) return known;
    const text = JSON.stringify(healthCheck);
    const id = this.#byText.get(text) ?? this.#byText.size + 1;
    this.#byText.set(text, id);
    this.#byObject.set(healthCheck, id);
    return id;
  }

  /** Whether the object can inherit this one beside those it has inherited. */
  admits(object: ObjectKey, id: number): boolean {
    if (id === 0) return true;
    const inherited = this.#inherited.get(object) ?? new Set();
    this.#inherited.set(object, inherited);
    if (inherited.size < MAX_INHERITED) inherited.add(id);
    return inherited.has(id);
  }
}
