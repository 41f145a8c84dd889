import type { CertificateDelegation } from "../api/certificate-delegation.ts";
import type { Ingress } from "../api/ingress.ts";
import type { IngressClass } from "../api/ingress-class.ts";
import type { IngressRoute } from "../api/ingress-route.ts";
import type { Secret } from "../api/secret.ts";
import type { KubeService } from "../api/service.ts";

/** The name of something that compile can ask, whether or not it exists, such as `Service/default/web`. */
export type Fact = string & { readonly __brand: "Fact" };

/**
 * The work of one compilation: everything that claims one host, `*.example.com` and `*` (any host) among them, or a root or
 * an Ingress that names no usable host (then the unit is named by its object). Only the store makes one.
 */
export type Unit = string & { readonly __brand: "Unit" };

/** The questions that compile may ask. All answers are of one moment. */
export interface View {
  /** The roots that make up this unit, in the order of their keys. */
  claims(unit: Unit): readonly IngressRoute[];
  /** The Ingresses that name this host, of whatever class, in the order of their keys. */
  ingresses(unit: Unit): readonly Ingress[];
  ingressClass(name: string): IngressClass | undefined;
  ingressRoute(namespace: string, name: string): IngressRoute | undefined;
  service(namespace: string, name: string): KubeService | undefined;
  secret(namespace: string, name: string): Secret | undefined;
  /** What the owners of a namespace let others use of it, in the order of their keys. */
  certificateDelegations(namespace: string): readonly CertificateDelegation[];
}
