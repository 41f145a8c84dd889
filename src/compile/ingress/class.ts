import type { Ingress } from "../../api/ingress.ts";
import type { View } from "../../store/view.ts";
import type { CompileOptions } from "../options.ts";

/** The controller that IngressClasses name when they mean this one: Contour's name, so that its IngressClasses go on working. */
export const CONTROLLER_NAME = "projectcontour.io/ingress-controller";

/** The class of everyone who has not chosen another. */
const DEFAULT_CLASS = "contour";

/**
 * Whether an Ingress is for this controller to serve: one that names no class is. An annotation counts before
 * `spec.ingressClassName`, as in Kubernetes.
 */
export function isOurs(
  { ingressClass }: Ingress,
  view: Pick<View, "ingressClass">,
  options: Pick<CompileOptions, "ingressClass">,
): boolean {
  const { annotation, name } = ingressClass;
  if (annotation !== undefined) return annotation.value === options.ingressClass;
  if (name === undefined) return true;
  const controller = view.ingressClass(name)?.controller;
  if (controller === undefined) return name === options.ingressClass;
  if (controller !== CONTROLLER_NAME) return false;
  // One that was given a class of its own leaves the other classes to its siblings.
  return name === options.ingressClass || options.ingressClass === DEFAULT_CLASS;
}
