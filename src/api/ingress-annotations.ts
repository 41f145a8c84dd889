import { type Annotation, decodeOwnAnnotations, PREFIXES } from "./annotations.ts";
import type { ObjectReader } from "./decode.ts";
import { decodeAnnotations } from "./metadata.ts";
import { nearest } from "./unknown-fields.ts";

/** Names of annotations without their prefix. */
const OWN = [
  "request-timeout",
  "retry-on",
  "num-retries",
  "per-try-timeout",
  "websocket-routes",
  "tls-minimum-protocol-version",
  "tls-cert-namespace",
] as const;

/** Those that ingress controllers have in common. */
const COMMON = ["ingress.kubernetes.io/force-ssl-redirect", "kubernetes.io/ingress.allow-http"] as const;

export type IngressAnnotations = Readonly<Partial<Record<(typeof OWN)[number] | (typeof COMMON)[number], Annotation>>>;

const CLASS = "ingress.class";
const COMMON_CLASS = `kubernetes.io/${CLASS}`;

/** The annotation that names a class: `contour.heptio.com/` (or `projectcontour.io/`) before `kubernetes.io/`. */
export function decodeClassAnnotation(metadata: ObjectReader | undefined): Annotation | undefined {
  const value = decodeAnnotations(metadata, [COMMON_CLASS])[COMMON_CLASS];
  const common = value === undefined ? undefined : { key: COMMON_CLASS, value };
  return decodeOwnAnnotations(metadata, [CLASS])[CLASS] ?? common;
}

/** What Isoline has a use for. Annotations that will be missed are noted: those of other ingress controllers, and slips. */
export function decodeIngressAnnotations(metadata: ObjectReader | undefined): IngressAnnotations {
  const annotations = metadata?.object("annotations");
  for (const key of annotations?.keys() ?? []) {
    const reason = whyUnused(key);
    if (reason !== undefined && !isOfSolver(key, annotations)) annotations?.warn(key, reason);
  }
  const found: Partial<Record<(typeof COMMON)[number], Annotation>> = {};
  const common = decodeAnnotations(metadata, COMMON);
  for (const key of COMMON) {
    const value = common[key];
    if (value !== undefined) found[key] = { key, value };
  }
  return { ...decodeOwnAnnotations(metadata, OWN), ...found };
}

/** Why an annotation does nothing although its author may count on it; undefined if it does something, or is for something else. */
function whyUnused(key: string): string | undefined {
  const slash = key.indexOf("/");
  const [prefix, name] = [key.slice(0, slash), key.slice(slash + 1)];
  if (PREFIXES.includes(prefix)) {
    const known = [...OWN, CLASS];
    if (known.some((each) => each === name)) return undefined;
    if (ON_SERVICES.test(name)) return "does nothing here; it belongs on the Service";
    const near = NEWER_NAMES[Object.hasOwn(NEWER_NAMES, name) ? name : ""] ?? nearest(name, known);
    return `is no annotation of an Ingress and does nothing${near === undefined ? "" : `; did you mean ${near}?`}`;
  }
  const isCommon = [COMMON_CLASS, ...COMMON].includes(key);
  const isForeign = OTHER_CONTROLLERS.test(prefix) || (prefix === "kubernetes.io" && name.startsWith("ingress."));
  return isForeign && !isCommon ? "is for another ingress controller and does nothing here" : undefined;
}

const ON_SERVICES = /^(upstream-protocol\.|max-)/;

/** Of later versions of Contour. */
const NEWER_NAMES: Readonly<Record<string, string>> = { "response-timeout": "request-timeout" };

const OTHER_CONTROLLERS =
  /(^|\.)ingress\.(kubernetes\.io|cloud\.ibm\.com|bluemix\.net)$|^(nginx|haproxy)\.(org|com)$|^haproxy-ingress\.github\.io$|konghq\.com$/;

/** Issuers of certificates put this on every Ingress that answers a challenge, for the sake of others. */
function isOfSolver(key: string, annotations: ObjectReader | undefined): boolean {
  if (key !== "nginx.ingress.kubernetes.io/whitelist-source-range") return false;
  return annotations?.string(key) === "0.0.0.0/0,::/0";
}
