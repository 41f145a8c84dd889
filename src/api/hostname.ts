import { isIpv4 } from "./ip-address.ts";

/** What keeps `fqdn` from being a host name (RFC 1123, or a bare word), as the rest of a sentence about it; undefined if nothing does. */
export function hostnameFault(fqdn: string): string | undefined {
  if (fqdn.length > 253) return "is longer than the 253 characters of a host name";
  if (/\{\{|\$\{|\$\(|<[^>]*>/.test(fqdn)) return "looks like a template that was not expanded";
  if (fqdn.includes("*")) return "is a wildcard; an IngressRoute names one host";
  if (/[A-Za-z]:\/\//.test(fqdn)) return "is a URL; write the host name alone";
  if (fqdn.includes("/")) return "holds a path; paths belong to the routes";
  if (fqdn.includes(":")) return "holds a port or an address; write the host name alone";
  if (!/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/i.test(fqdn)) {
    return "is not a host name: labels of letters, digits and hyphens, with dots between them";
  }
  return undefined;
}

/** The host of a rule of an Ingress, as it is compared: `*` for one without a host. */
export function ingressHost(host: string | undefined): string {
  return host?.toLowerCase() ?? "*";
}

/** The same for a host of an Ingress: a host name, a wildcard for one label such as `*.example.com`, or `*` for any host. */
export function hostnamePatternFault(host: string): string | undefined {
  if (host === "*") return undefined;
  if (isIpv4(host)) return "is an address; an Ingress is for host names";
  const name = host.startsWith("*.") ? host.slice(2) : host;
  return name.includes("*")
    ? "may have a wildcard only as its first label, such as *.example.com"
    : hostnameFault(name);
}
