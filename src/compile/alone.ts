import type { IngressRoute } from "../api/ingress-route.ts";
import type { ApiObject } from "../api/kinds.ts";
import type { ObjectKey } from "../api/object-key.ts";
import { isOurs as isOurIngress } from "./ingress/class.ts";
import { ingressProblems } from "./ingress/self-check.ts";
import { isOurs } from "./ingressroute/class.ts";
import { passesThrough, rootNamespaceProblem, selfProblems } from "./ingressroute/self-check.ts";
import type { CompileOptions } from "./options.ts";
import type { Problem } from "./problems.ts";
import { minimumVersion } from "./tls.ts";
import { inDocumentOrder } from "./verdicts.ts";

export type AloneOptions = Pick<CompileOptions, "rootNamespaces" | "ingressClass" | "minimumTlsVersion" | "readRegex">;

/**
 * Everything that is the matter with an object as far as it can be told without any other, in the order of the document.
 * Nothing for objects of other classes, and for kinds that nobody writes for this controller.
 */
export function problemsAlone(key: ObjectKey, object: ApiObject, options: AloneOptions): readonly Problem[] {
  switch (object.kind) {
    case "IngressRoute":
      return isOurs(object, options) ? inDocumentOrder(ingressRouteProblems(key, object, options)) : [];
    case "Ingress":
      return isOurIngress(object, NO_CLASSES, options) ? inDocumentOrder(ingressProblems(key, object, options)) : [];
    case "TLSCertificateDelegation":
      return object.notes.faults.map(({ at, reason }) => {
        return { object: key, at, subject: { kind: "object" }, code: "InvalidField", field: at, reason };
      });
    case "IngressClass":
    case "Secret":
    case "Service":
    case "EndpointSlice":
      return [];
  }
}

/** A class that is known by nothing but its name. */
const NO_CLASSES = { ingressClass: () => undefined };

function ingressRouteProblems(key: ObjectKey, object: IngressRoute, options: AloneOptions): readonly Problem[] {
  const elsewhere = rootNamespaceProblem(key, object, options);
  const problems = [...selfProblems(key, object), ...(elsewhere === undefined ? [] : [elsewhere])];
  const tls = object.virtualHost?.tls;
  if (tls !== undefined && !passesThrough(object)) {
    for (const { field, fact } of minimumVersion(tls, options).problems) {
      if (fact.code !== "TlsVersionRaised") continue; // told already
      problems.push({ object: key, at: `spec.virtualhost.tls.${field}`, subject: { kind: "object" }, ...fact });
    }
  }
  return problems;
}
