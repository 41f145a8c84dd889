import { ingressHost } from "../../api/hostname.ts";
import type { Ingress, IngressBackend } from "../../api/ingress.ts";
import { wildcardOf } from "../../ir/wildcard.ts";
import { MAX_CLUSTERS } from "../cluster-budget.ts";
import type { Fact } from "../problems.ts";
import { compileAnnotations, type IngressSettings } from "./annotations.ts";

/** What there is to know of an Ingress before one of its hosts is looked at. */
export type ReadIngress = {
  readonly settings: IngressSettings;
  /** By host: the places of its rules. */
  readonly rules: ReadonlyMap<string, readonly number[]>;
  /** By host: how many others come before it in the rules. */
  readonly order: ReadonlyMap<string, number>;
  /** The place of the entry of `spec.tls` that is for a host. */
  readonly tlsEntry: (host: string) => number | undefined;
  /** Undefined for all but the Ingress that names more different backends than one may have. */
  readonly tooMany: TooMany | undefined;
};

/** A host has few of an Ingress that names many hosts, but all of them are clusters of Envoy. */
type TooMany = {
  /** Those that get no cluster, by {@link backendId}. */
  readonly beyond: ReadonlySet<string>;
  /** Where the first of them is named. */
  readonly at: string;
  readonly fact: Fact;
};

/** Objects do not change, so what was read of one stays true. */
const known = new WeakMap<Ingress, ReadIngress>();

/** Read once: an Ingress can name ten thousand hosts, and each of them asks. */
export function readIngress(ingress: Ingress): ReadIngress {
  const read = known.get(ingress) ?? readAnew(ingress);
  known.set(ingress, read);
  return read;
}

function readAnew(ingress: Ingress): ReadIngress {
  const rules = new Map<string, number[]>();
  for (const [i, { host }] of ingress.rules.entries()) {
    const name = ingressHost(host);
    const places = rules.get(name);
    if (places === undefined) rules.set(name, [i]);
    else places.push(i);
  }
  const order = new Map([...rules.keys()].map((host, i) => [host, i]));
  return {
    settings: compileAnnotations(ingress),
    rules,
    order,
    tlsEntry: tlsEntries(ingress.tls),
    tooMany: tooMany(ingress),
  };
}

/** The first of the document are served, and the default backend before all of them: it may be the only one for a host. */
function tooMany({ rules, defaultBackend, metadata: { namespace } }: Ingress): TooMany | undefined {
  const admitted = new Set<string>();
  const beyond = new Set<string>();
  let first: string | undefined;
  const count = (backend: IngressBackend | undefined, at: () => string): void => {
    if (backend?.kind !== "service") return;
    const id = backendId(backend);
    if (admitted.has(id) || beyond.has(id)) return;
    if (admitted.size < MAX_CLUSTERS) {
      admitted.add(id);
      return;
    }
    beyond.add(id);
    first ??= at();
  };
  count(defaultBackend, () => "spec");
  for (const [i, { paths = [] }] of rules.entries()) {
    for (const [j, { backend }] of paths.entries()) count(backend, () => `spec.rules[${i}].http.paths[${j}].backend`);
  }
  if (first === undefined) return undefined;
  const sum = admitted.size + beyond.size;
  const fact: Fact = { code: "TooManyUpstreams", scope: "Ingress", namespace, count: sum, max: MAX_CLUSTERS };
  return { beyond, at: first, fact };
}

/** Equal for backends that are one cluster, but for a port that has both its name and its number. */
export function backendId({ service, port }: Extract<IngressBackend, { kind: "service" }>): string {
  return `${service} ${port.kind === "name" ? port.name : port.number}`;
}

/** The entry that names the host; else one whose wildcard covers it; else one that names none, which is for all hosts. */
function tlsEntries(tls: Ingress["tls"]): ReadIngress["tlsEntry"] {
  const places = new Map<string, number>();
  for (const [i, { hosts }] of tls.entries()) {
    for (const host of hosts) {
      const name = host.toLowerCase();
      if (!places.has(name)) places.set(name, i);
    }
  }
  const forAll = tls.findIndex(({ hosts }) => hosts.length === 0);
  return (host) => places.get(host) ?? places.get(wildcardOf(host)) ?? (forAll < 0 ? undefined : forAll);
}
