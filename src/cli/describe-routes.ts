import type * as ir from "../ir/ir.ts";

/** What is said of one Service in the list of routes: whether an echo stands in for it, for one. */
export type Remark = (service: { readonly namespace: string; readonly name: string }) => string;

/** A line for each route: its URL, and what answers there. */
export function describeRoutes(host: ir.Host, httpPort: number, remark: Remark): readonly string[] {
  const urls = host.routes.map(({ match }) => `http://${host.name}:${httpPort}${match.path}`);
  const width = Math.min(60, Math.max(0, ...urls.map((url) => url.length)));
  return host.routes.map((route, i) => `${(urls[i] ?? "").padEnd(width)}  ${describeAction(route, remark)}`);
}

function describeAction({ action, origin }: ir.Route, remark: Remark): string {
  switch (action.kind) {
    case "unavailable":
      return `503, see ${origin.object} ${origin.at}`;
    case "forward": {
      const sum = action.shares.reduce((total, { weight }) => total + weight, 0);
      const shares = action.shares.map(({ weight, cluster }) => {
        const share = action.shares.length === 1 ? "" : ` ${percentage(weight / sum)}`;
        return `${describeCluster(cluster, remark)}${share}`;
      });
      const rewritten = action.prefixRewrite === undefined ? "" : `, prefix rewritten to ${action.prefixRewrite}`;
      return `${shares.join(", ")}${rewritten}`;
    }
  }
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
