import { type CertificateDelegation, decodeCertificateDelegation } from "./certificate-delegation.ts";
import { decodeEndpointSlice, type EndpointSlice } from "./endpoint-slice.ts";
import { decodeIngress, type Ingress } from "./ingress.ts";
import { decodeIngressClass, type IngressClass } from "./ingress-class.ts";
import { decodeIngressRoute, type IngressRoute } from "./ingress-route.ts";
import type { ObjectKey } from "./object-key.ts";
import { decodeSecret, type Secret } from "./secret.ts";
import { decodeService, type KubeService } from "./service.ts";

export type ApiObject =
  | IngressRoute
  | Ingress
  | IngressClass
  | CertificateDelegation
  | Secret
  | KubeService
  | EndpointSlice;

/** What a source says of one object. */
export type ObjectChange =
  | { readonly kind: "applied"; readonly key: ObjectKey; readonly object: ApiObject }
  | { readonly kind: "deleted"; readonly key: ObjectKey };

/** For one object; thousands would hide what is said of others. */
const MAX_LINES = 10;

/** A line for everything that could not be read in objects of which compile has nothing to say. */
export function notesWithoutStatus(changes: Iterable<ObjectChange>): readonly string[] {
  const lines: string[] = [];
  for (const change of changes) {
    if (change.kind === "deleted") continue;
    if (change.object.kind === "IngressRoute" || change.object.kind === "Ingress") continue;
    const { faults } = change.object.notes;
    for (const { at, reason } of faults.slice(0, MAX_LINES)) lines.push(`${change.key}: ${at}: ${reason}`);
    if (faults.length > MAX_LINES) lines.push(`${change.key}: and ${faults.length - MAX_LINES} more`);
  }
  return lines;
}

export type Kind = {
  readonly kind: ApiObject["kind"];
  /** Every `apiVersion` under which the kind is read; the first is the one asked of an API server. */
  readonly apiVersions: readonly string[];
  readonly plural: string;
  /** Its objects have no namespace; their keys have an empty one. */
  readonly isClusterScoped?: true;
  /** What an API server is asked to leave out. */
  readonly fieldSelector?: string;
  readonly decode: (raw: unknown) => ApiObject;
};

/** Types of Secrets that are many or large and never hold a certificate for a host or a backend. */
const UNRELATED_SECRETS = [
  "helm.sh/release.v1",
  "kubernetes.io/dockercfg",
  "kubernetes.io/dockerconfigjson",
  "bootstrap.kubernetes.io/token",
];

/** The kinds that Isoline reads. */
export const KINDS: readonly Kind[] = [
  {
    kind: "IngressRoute",
    apiVersions: ["contour.heptio.com/v1beta1"],
    plural: "ingressroutes",
    decode: decodeIngressRoute,
  },
  {
    kind: "Ingress",
    apiVersions: ["networking.k8s.io/v1", "networking.k8s.io/v1beta1", "extensions/v1beta1"],
    plural: "ingresses",
    decode: decodeIngress,
  },
  {
    kind: "IngressClass",
    apiVersions: ["networking.k8s.io/v1", "networking.k8s.io/v1beta1"],
    plural: "ingressclasses",
    isClusterScoped: true,
    decode: decodeIngressClass,
  },
  {
    kind: "TLSCertificateDelegation",
    apiVersions: ["contour.heptio.com/v1beta1"],
    plural: "tlscertificatedelegations",
    decode: decodeCertificateDelegation,
  },
  {
    kind: "Secret",
    apiVersions: ["v1"],
    plural: "secrets",
    fieldSelector: UNRELATED_SECRETS.map((type) => `type!=${type}`).join(","),
    decode: decodeSecret,
  },
  { kind: "Service", apiVersions: ["v1"], plural: "services", decode: decodeService },
  {
    kind: "EndpointSlice",
    apiVersions: ["discovery.k8s.io/v1"],
    plural: "endpointslices",
    decode: decodeEndpointSlice,
  },
];
