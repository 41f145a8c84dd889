import { ingressHost } from "../../api/hostname.ts";
import type { Ingress } from "../../api/ingress.ts";
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
  return { settings: compileAnnotations(ingress), rules, order, tlsEntry: tlsEntries(ingress.tls) };
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

/** The wildcard that stands for the host: `*.example.com` for `a.example.com`. */
export function wildcardOf(host: string): string {
  return host.replace(/^[^.]*/, "*");
}
