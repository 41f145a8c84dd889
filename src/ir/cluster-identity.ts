import type * as ir from "./ir.ts";

/** A text that is equal for equal clusters and no others. Certificates are in it by their digest: each route asks for it again. */
export function clusterIdentity(cluster: ir.Cluster): string {
  const { tls } = cluster;
  if (tls?.validation === undefined) return JSON.stringify(cluster);
  const { authorities, subjectName } = tls.validation;
  return JSON.stringify({ ...cluster, tls: { ...tls, validation: { authorities: authorities.id, subjectName } } });
}
