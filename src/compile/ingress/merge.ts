import type { ObjectKey } from "../../api/object-key.ts";
import type * as ir from "../../ir/ir.ts";
import type { Findings } from "../findings.ts";
import type { Fact, Subject } from "../problems.ts";
import { firstText } from "../route-order.ts";
import type { IngressHost } from "./host.ts";

/** What a root publishes, as far as Ingresses of its host have to give way to it. */
type Root = Pick<ir.Host, "routes" | "tls" | "tcpProxy">;

/**
 * What is left of a host's Ingresses beside the root that holds the host. The root's certificate and version of TLS are
 * those of the host. On each port, a path that the root has is the root's, even if it answers 503 there.
 */
export function besideRoot(
  host: string,
  ingresses: IngressHost,
  root: Root,
  holder: ObjectKey | undefined,
  findings: Findings,
): Pick<IngressHost, "routes" | "tls"> {
  const tls = tlsBesideRoot(host, ingresses, root, holder, findings);
  const held = new Map(root.routes.map((route) => [route.match.path, route]));
  const refused = tls === undefined ? new Set<string>() : refusedOverTls(host, ingresses, root.tls ?? tls, findings);
  const split = ingresses.routes.flatMap((route) =>
    refused.has(route.origin.object) ? unavailableOverTls(route) : [route],
  );
  const routes = split.flatMap((route): ir.Route[] => {
    const isSecure = tls !== undefined;
    const alone: ir.Route = isSecure ? route : { ...route, secure: "absent" };
    const text = firstText(route.match);
    const rival = held.get(withoutTrailingSlash(text));
    if (rival === undefined) return [alone];
    const { object, at } = route.origin;
    const subject: Subject = { kind: "route", match: `${host}${route.match.path}` };
    const fact: Fact = { code: "IngressPathHeld", holder: rival.origin.object as ObjectKey };
    findings.report({ object: object as ObjectKey, at, subject, ...fact });
    // Where a path may also go on without a slash, some are not the root's. What both match is: the root's route comes first.
    if ((route.match.kind === "stringPrefix" || route.match.kind === "regex") && !text.endsWith("/")) return [alone];
    const insecure = rival.insecure === "absent" ? alone.insecure : "absent";
    const secure = rival.secure === "absent" ? alone.secure : "absent";
    return insecure === "absent" && secure === "absent" ? [] : [{ ...alone, insecure, secure }];
  });
  return { routes, tls };
}

function tlsBesideRoot(
  host: string,
  { tls }: IngressHost,
  root: Root,
  holder: ObjectKey | undefined,
  findings: Findings,
): IngressHost["tls"] {
  if (tls === undefined || holder === undefined) return tls;
  const { at } = tls.certificate.origin;
  const object = tls.certificate.origin.object as ObjectKey;
  const report = (fact: Fact) => findings.report({ object, at, subject: { kind: "object" }, ...fact });
  if (root.tcpProxy !== undefined) {
    report({ code: "IngressHttpsHeld", host, holder, reason: "forwards its connections" });
    return undefined;
  }
  if (root.tls === undefined) return tls;
  if (root.tls.certificate.chainPem !== tls.certificate.chainPem) {
    report({ code: "IngressCertificateHeld", host, holder });
  }
  return tls;
}

/** The Ingresses that ask for a newer version of TLS than the host is served from. */
function refusedOverTls(
  host: string,
  { tlsVersions }: IngressHost,
  { minimumVersion, certificate }: ir.HostTls,
  findings: Findings,
): ReadonlySet<string> {
  const refused = new Set<string>();
  const holder = certificate.origin.object as ObjectKey;
  for (const [key, { version, at }] of tlsVersions) {
    if (version <= minimumVersion) continue;
    refused.add(key);
    const fact: Fact = { code: "IngressHttpsHeld", host, holder, reason: `serves it from TLS ${minimumVersion}` };
    findings.report({ object: key as ObjectKey, at, subject: { kind: "object" }, ...fact });
  }
  return refused;
}

/** The path is not left to others: it has an owner, who does not want it served like this. */
function unavailableOverTls(route: ir.Route): readonly ir.Route[] {
  const unavailable: ir.Route = { ...route, insecure: "absent", action: { kind: "unavailable" } };
  return route.insecure === "absent" ? [unavailable] : [{ ...route, secure: "absent" }, unavailable];
}

function withoutTrailingSlash(path: string): string {
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}
