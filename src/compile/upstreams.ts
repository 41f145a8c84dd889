import { hostnameFault } from "../api/hostname.ts";
import type { Service as IngressRouteService } from "../api/ingress-route.ts";
import { isIpv4, parseIpv6 } from "../api/ip-address.ts";
import { isName } from "../api/names.ts";
import type { ServiceAnnotations, ServicePort } from "../api/service.ts";
import type * as ir from "../ir/ir.ts";
import type { View } from "../store/view.ts";
import type { CompileOptions } from "./options.ts";
import type { Fact } from "./problems.ts";

const MAX_UINT32 = 2 ** 32 - 1;

export type Upstream =
  | { readonly kind: "cluster"; readonly cluster: ir.Cluster; readonly warnings: readonly Fact[] }
  /** The reference leads nowhere. */
  | { readonly kind: "broken"; readonly fact: Fact };

type ServiceReference = { readonly namespace: string; readonly name: string; readonly port: number };

/** The cluster that stands for one port of one Service, as one route uses it. */
export function compileUpstream(
  reference: ServiceReference,
  policies: ir.ClusterPolicies,
  validation: IngressRouteService["validation"],
  view: View,
  options: CompileOptions,
): Upstream {
  const service = view.service(reference.namespace, reference.name);
  if (service === undefined) return broken({ code: "ServiceNotFound", namespace: reference.namespace });
  const tcpPorts = service.ports.filter(({ protocol }) => protocol === "TCP");
  const port = tcpPorts.find(({ port }) => port === reference.port);
  if (port === undefined) {
    return broken(
      portNotFound(
        reference.port,
        tcpPorts.map(({ port }) => port),
      ),
    );
  }
  const { externalName } = service;
  const fault = externalName === undefined ? undefined : externalNameFault(externalName, options);
  if (fault !== undefined) return broken(fault);
  const { protocol, contradicted } = upstreamProtocol(service.annotations, port);
  const validated = validation && compileValidation(validation, reference.namespace, protocol, view, options);
  if (validated !== undefined && "code" in validated) return broken(validated);
  const { circuitBreakers, warnings } = readCircuitBreakers(service.annotations);
  const cluster: ir.Cluster = {
    service: reference,
    endpoints:
      externalName === undefined || service.isStandIn
        ? { kind: "slices", portName: port.name }
        : { kind: "dns", hostname: externalName },
    http2: (protocol === "h2" || protocol === "h2c") && !service.isStandIn,
    tls:
      (protocol === "h2" || protocol === "tls") && !service.isStandIn
        ? {
            sni: validated?.subjectName ?? sniOf(externalName),
            alpn: protocol === "h2" ? "h2" : "http/1.1",
            validation: validated,
          }
        : undefined,
    circuitBreakers,
    loadBalancing: policies.loadBalancing,
    healthCheck: policies.healthCheck,
  };
  return { kind: "cluster", cluster, warnings: [...contradicted, ...warnings] };
}

/** More than that help nobody, and each route that asks is told them. */
const MAX_PORTS_TOLD = 10;

export function portNotFound(port: number | string, available: readonly (number | string)[]): Fact {
  const omitted = Math.max(0, available.length - MAX_PORTS_TOLD);
  return { code: "ServicePortNotFound", port, available: available.slice(0, MAX_PORTS_TOLD), omitted };
}

/** All of it, or the object that asks for it is invalid: never unverified when verification was asked for. */
function compileValidation(
  { caSecret, subjectName }: NonNullable<IngressRouteService["validation"]>,
  namespace: string,
  protocol: Protocol,
  view: View,
  { readCertificates }: CompileOptions,
): ir.UpstreamValidation | Fact {
  const unusable = (reason?: string): Fact => ({ code: "ValidationUnusable", reason });
  const fault = validationFault({ caSecret, subjectName });
  if (fault !== undefined || !caSecret || !subjectName) return unusable(fault);
  if (protocol !== "tls") {
    return unusable("the Service's annotation contour.heptio.com/upstream-protocol.tls does not name the port");
  }
  const authority = view.secret(namespace, caSecret)?.authority;
  const bundle = authority && readCertificates.caBundle(authority);
  if (bundle === undefined) return unusable();
  if (!bundle.ok) return unusable(`secret "${caSecret}" is misconfigured: ${bundle.reason}`);
  return { authorities: bundle.authorities, subjectName: subjectName.toLowerCase() };
}

/** What a validation lacks by itself, as the rest of a sentence; undefined if nothing. */
export function validationFault({
  caSecret,
  subjectName,
}: NonNullable<IngressRouteService["validation"]>): string | undefined {
  if (!caSecret) return "caSecret is missing";
  if (!isName(caSecret)) return "caSecret is not the name of a Secret in this namespace";
  if (!subjectName) return "subjectName is missing";
  return hostnameFault(subjectName) === undefined ? undefined : "subjectName is not a host name";
}

function broken(fact: Fact): Upstream {
  return { kind: "broken", fact };
}

/** Addresses are not sent as server names. */
function sniOf(externalName: string | undefined): string | undefined {
  if (externalName === undefined || isIpv4(externalName) || parseIpv6(externalName) !== undefined) return undefined;
  return externalName.replace(/\.$/, "");
}

type Protocol = "tls" | "h2" | "h2c" | "http1";

/** Of several annotations that name the port, the one that protects most wins. */
function upstreamProtocol(
  annotations: ServiceAnnotations,
  port: ServicePort,
): { readonly protocol: Protocol; readonly contradicted: readonly Fact[] } {
  const named = portsByProtocol(annotations)
    .filter(({ ports }) => ports.has(String(port.port)) || (port.name !== "" && ports.has(port.name)))
    .map(({ protocol }) => protocol);
  const [protocol = "http1", ...others] = named;
  const contradicted: Fact[] =
    others.length === 0 ? [] : [{ code: "UpstreamProtocolContradictory", port: port.port, protocols: named }];
  return { protocol, contradicted };
}

type PortsByProtocol = readonly { readonly protocol: "tls" | "h2" | "h2c"; readonly ports: ReadonlySet<string> }[];

/** Objects do not change, so what was read of one stays true. */
const known = new WeakMap<ServiceAnnotations, PortsByProtocol>();

/** Read once: an annotation can name a hundred thousand ports, and each route to the Service asks. */
function portsByProtocol(annotations: ServiceAnnotations): PortsByProtocol {
  const remembered = known.get(annotations);
  if (remembered !== undefined) return remembered;
  const read = (["tls", "h2", "h2c"] as const).flatMap((protocol) => {
    const annotation = annotations[`upstream-protocol.${protocol}`];
    if (annotation === undefined) return [];
    return [{ protocol, ports: new Set(annotation.value.split(",").map((name) => name.trim())) }];
  });
  // Most Services have none.
  if (read.length > 0) known.set(annotations, read);
  return read;
}

function readCircuitBreakers(annotations: ServiceAnnotations): {
  readonly circuitBreakers: ir.CircuitBreakers;
  readonly warnings: readonly Fact[];
} {
  const warnings: Fact[] = [];
  const read = (name: keyof ServiceAnnotations): number | undefined => {
    const annotation = annotations[name];
    if (annotation === undefined) return undefined;
    const value = /^[0-9]{1,10}$/.test(annotation.value.trim()) ? Number(annotation.value) : Number.NaN;
    // Contour takes 0 for no limit of its own. To Envoy it would be nobody at all.
    if (value > 0 && value <= MAX_UINT32) return value;
    const code = value === 0 ? "ServiceLimitZero" : "ServiceAnnotationUnreadable";
    warnings.push({ code, annotation: annotation.key });
    return undefined;
  };
  const circuitBreakers = {
    maxConnections: read("max-connections"),
    maxPendingRequests: read("max-pending-requests"),
    maxRequests: read("max-requests"),
    maxRetries: read("max-retries"),
  };
  return { circuitBreakers, warnings };
}

/** Why Envoy is not sent to this name, if it is not. */
function externalNameFault(
  externalName: string,
  { allowLoopbackExternalName }: Pick<CompileOptions, "allowLoopbackExternalName">,
): Fact | undefined {
  if (!isDnsNameOrAddress(externalName)) return { code: "ExternalNameInvalid", externalName };
  if (!allowLoopbackExternalName && isLoopback(externalName)) return { code: "ExternalNameIsLoopback", externalName };
  return undefined;
}

function isDnsNameOrAddress(name: string): boolean {
  if (parseIpv6(name) !== undefined) return true;
  return (
    name.length <= 253 &&
    /^[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]{0,61}[a-z0-9_])?)*\.?$/i.test(name)
  );
}

/**
 * Whether the name leads to the machine that resolves it, where Envoy's admin interface listens. Numbers are read as the
 * C library reads them: `127.1`, `0x7f000001` and `017700000001` are all 127.0.0.1, and 0.0.0.0 connects to it too.
 */
export function isLoopback(externalName: string): boolean {
  const name = externalName.toLowerCase().replace(/\.+$/, "");
  if (name === "localhost" || name === "loopback" || name.endsWith(".localhost") || name === "localhost.localdomain")
    return true;
  // Names of ::1 in the hosts file of common distributions.
  if (
    name === "ip6-localhost" ||
    name === "ip6-loopback" ||
    name.startsWith("localhost6") ||
    name.startsWith("localhost4")
  ) {
    return true;
  }
  const v6 = parseIpv6(name);
  if (v6 !== undefined) {
    const [high = 0, low = 0] = v6.slice(6);
    // The forms of RFC 4291 (compatible, mapped), RFC 2765 (translated) and RFC 6052 (NAT64) that stand for an IPv4 address.
    const prefix = v6
      .slice(0, 6)
      .map((group) => group.toString(16))
      .join(":");
    const holdsV4 = ["0:0:0:0:0:0", "0:0:0:0:0:ffff", "0:0:0:0:ffff:0", "64:ff9b:0:0:0:0"].includes(prefix);
    return holdsV4 && isLoopbackV4(high * 65536 + low);
  }
  const v4 = parseIpv4Loosely(name);
  return v4 !== undefined && isLoopbackV4(v4);
}

function isLoopbackV4(address: number): boolean {
  const first = Math.floor(address / 2 ** 24);
  return first === 127 || first === 0;
}

/** As inet_aton does: one to four parts, each decimal, octal (leading 0) or hexadecimal (0x), the last filling what is left. */
function parseIpv4Loosely(text: string): number | undefined {
  if (isIpv4(text)) return text.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
  const parts = text.split(".");
  if (parts.length > 4) return undefined;
  const numbers = parts.map((part) => {
    if (/^0x[0-9a-f]{1,16}$/.test(part)) return Number.parseInt(part, 16);
    if (/^0[0-7]{0,22}$/.test(part)) return Number.parseInt(part, 8);
    return /^[1-9][0-9]{0,16}$/.test(part) ? Number(part) : Number.NaN;
  });
  if (numbers.some(Number.isNaN)) return undefined;
  const last = numbers.pop() ?? 0;
  const high = numbers.reduce((sum, part) => sum * 256 + part, 0) * 256 ** (4 - numbers.length);
  return high + last;
}
