import { isIpv4 } from "../api/ip-address.ts";
import type * as ir from "../ir/ir.ts";

/** What is said of one Service in the list of routes: whether an echo stands in for it, for one. */
export type Remark = (service: { readonly namespace: string; readonly name: string }) => string;

export type Ports = { readonly httpPort: number; readonly httpsPort: number };

/** A line for each way into the host: its URL, and what answers there. */
export function describeRoutes(host: ir.Host, ports: Ports, remark: Remark): readonly string[] {
  const tcp = host.tcpProxy === undefined ? [] : [tcpLine(host, host.tcpProxy, ports, remark)];
  const lines = [...tcp, ...httpLines(host, ports, remark)];
  const width = Math.min(60, Math.max(0, ...lines.map(([url]) => url.length)));
  return lines.map(([url, answer]) => `${url.padEnd(width)}  ${answer}`);
}

type Line = readonly [url: string, answer: string];

function httpLines(host: ir.Host, ports: Ports, remark: Remark): readonly Line[] {
  const { name, routes, redirectsUnmatched } = host;
  const lastServed = routes.findLastIndex(({ insecure }) => insecure === "serve");
  // The line for all that is left tells of redirects too, unless a route below them serves.
  const isTold = (i: number) => !redirectsUnmatched || i < lastServed;
  const lines = routes.flatMap((route, i) => [
    ...secureLines(host, route, ports, remark),
    ...(route.insecure === "redirect" && !isTold(i) ? [] : insecureLines(host, route, ports, remark)),
  ]);
  const isAllServed = routes.some(({ match, insecure }) => isEverything(match) && insecure === "serve");
  if (!redirectsUnmatched || isAllServed) return lines;
  return [...lines, [`http://${name}:${ports.httpPort}/`, describeRedirect(host)]];
}

function secureLines({ name, tls }: ir.Host, route: ir.Route, { httpsPort }: Ports, remark: Remark): readonly Line[] {
  if (tls === undefined || route.secure === "absent" || isIpv4(name)) return [];
  return [[`https://${name}:${httpsPort}${describeMatch(route.match)}`, describeAction(route, remark)]];
}

function insecureLines(host: ir.Host, route: ir.Route, { httpPort }: Ports, remark: Remark): readonly Line[] {
  const url = `http://${host.name}:${httpPort}${describeMatch(route.match)}`;
  switch (route.insecure) {
    case "serve":
      return [[url, describeAction(route, remark)]];
    case "redirect":
      return [[url, describeRedirect(host)]];
    case "absent":
      return [];
  }
}

function isEverything({ kind, path }: ir.PathMatch): boolean {
  return kind === "prefix" && path === "/";
}

/** Clients do not name an address in TLS, so that nobody gets to a host of that name there. */
function describeRedirect({ name, tls, tcpProxy }: ir.Host): string {
  const isAnswered = (tls !== undefined || tcpProxy !== undefined) && !isIpv4(name);
  return isAnswered ? "301 to https" : "301 to https, where nothing is served";
}

function tcpLine({ name }: ir.Host, { shares, passthrough }: ir.TcpProxy, { httpsPort }: Ports, remark: Remark): Line {
  if (isIpv4(name)) return [`tls://${name}:${httpsPort}`, "closed, no client names an address in TLS"];
  const target = shares.length === 0 ? "closed, nobody is there" : describeShares(shares, remark);
  return [`tls://${name}:${httpsPort}`, `${target}${passthrough ? ", which does TLS itself" : ""}`];
}

function describeMatch({ kind, path }: ir.PathMatch): string {
  switch (kind) {
    case "prefix":
      return path;
    case "exact":
      return `${path} (exactly)`;
    case "stringPrefix":
      return `${path}...`;
    case "regex":
      return ` ~ ${path}`;
  }
}

function describeAction({ action, origin }: ir.Route, remark: Remark): string {
  switch (action.kind) {
    case "unavailable":
      return `503, see ${origin.object} ${origin.at}`;
    case "forward": {
      const rewritten = action.prefixRewrite === undefined ? "" : `, prefix rewritten to ${action.prefixRewrite}`;
      return `${describeShares(action.shares, remark)}${rewritten}`;
    }
  }
}

function describeShares(shares: readonly ir.Share[], remark: Remark): string {
  const sum = shares.reduce((total, { weight }) => total + weight, 0);
  const described = shares.map(({ weight, cluster }) => {
    const share = shares.length === 1 ? "" : ` ${percentage(weight / sum)}`;
    return `${describeCluster(cluster, remark)}${share}`;
  });
  return described.join(", ");
}

function describeCluster(cluster: ir.Cluster | undefined, remark: Remark): string {
  if (cluster === undefined) return "503";
  const { namespace, name, port } = cluster.service;
  const target = cluster.endpoints.kind === "dns" ? ` = ${cluster.endpoints.hostname}` : "";
  return `${namespace}/${name}:${port}${target}${remark(cluster.service)}`;
}

function percentage(share: number): string {
  return `${Number((share * 100).toPrecision(3))}%`;
}
