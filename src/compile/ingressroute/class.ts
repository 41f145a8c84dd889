import type { IngressRoute } from "../../api/ingress-route.ts";
import type { CompileOptions } from "../options.ts";

/** Whether an IngressRoute is for this controller to serve: one that names no class is. */
export function isOurs({ ingressClass }: IngressRoute, options: Pick<CompileOptions, "ingressClass">): boolean {
  return ingressClass === undefined || ingressClass === options.ingressClass;
}
