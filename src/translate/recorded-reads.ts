import type { CertificateDelegation } from "../api/certificate-delegation.ts";
import { compact } from "../api/compact.ts";
import { Groups } from "../api/groups.ts";
import type { Ingress } from "../api/ingress.ts";
import type { IngressClass } from "../api/ingress-class.ts";
import type { IngressRoute } from "../api/ingress-route.ts";
import { objectKey } from "../api/object-key.ts";
import type { Secret } from "../api/secret.ts";
import type { KubeService } from "../api/service.ts";
import { delegationsFact, ingressClassKey, objectFact } from "../store/store.ts";
import type { Fact, Unit, View } from "../store/view.ts";

/** Answers from another view and remembers what was asked, whether or not it was there. */
export class RecordingView implements View {
  readonly facts: Set<Fact> = new Set();
  readonly #view: View;

  constructor(view: View) {
    this.#view = view;
  }

  /** Not recorded: a unit is stale by itself when its claims change. */
  claims(unit: Unit): readonly IngressRoute[] {
    return this.#view.claims(unit);
  }

  /** Not recorded, for the same reason. */
  ingresses(unit: Unit): readonly Ingress[] {
    return this.#view.ingresses(unit);
  }

  ingressClass(name: string): IngressClass | undefined {
    this.facts.add(objectFact(ingressClassKey(name)));
    return this.#view.ingressClass(name);
  }

  ingressRoute(namespace: string, name: string): IngressRoute | undefined {
    this.facts.add(objectFact(objectKey("IngressRoute", namespace, name)));
    return this.#view.ingressRoute(namespace, name);
  }

  service(namespace: string, name: string): KubeService | undefined {
    this.facts.add(objectFact(objectKey("Service", namespace, name)));
    return this.#view.service(namespace, name);
  }

  secret(namespace: string, name: string): Secret | undefined {
    this.facts.add(objectFact(objectKey("Secret", namespace, name)));
    return this.#view.secret(namespace, name);
  }

  certificateDelegations(namespace: string): readonly CertificateDelegation[] {
    this.facts.add(delegationsFact(namespace));
    return this.#view.certificateDelegations(namespace);
  }
}

/** Which units asked for which facts. */
export class Readers {
  readonly #readers = new Groups<Fact, Unit, true>();
  readonly #facts = new Map<Unit, readonly Fact[]>();

  of(facts: Iterable<Fact>): Set<Unit> {
    const units = new Set<Unit>();
    for (const fact of facts) {
      for (const unit of this.#readers.of(fact).keys()) units.add(unit);
    }
    return units;
  }

  replace(unit: Unit, facts: ReadonlySet<Fact>): void {
    for (const fact of this.#facts.get(unit) ?? []) {
      if (!facts.has(fact)) this.#readers.delete(fact, unit);
    }
    for (const fact of facts) this.#readers.set(fact, unit, true);
    if (facts.size === 0) this.#facts.delete(unit);
    else this.#facts.set(unit, compact([...facts]));
  }
}
