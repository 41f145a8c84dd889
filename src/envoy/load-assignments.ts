import { ClusterLoadAssignmentSchema } from "#proto/envoy/config/endpoint/v3/endpoint_pb.js";
import type * as ir from "../ir/ir.ts";
import { lbEndpoint } from "./clusters.ts";
import { encode } from "./encode.ts";
import { loadAssignmentName, serviceOrigin } from "./names.ts";
import type { Draft } from "./resource.ts";

export function loadAssignmentDraft(assignment: ir.LoadAssignment): Draft {
  const { namespace, service, endpoints, maxChecked } = assignment;
  const name = loadAssignmentName(assignment);
  return {
    type: "loadAssignment",
    name,
    nameIsContent: false,
    clusters: [],
    origins: [serviceOrigin(namespace, service)],
    encode: () =>
      encode(ClusterLoadAssignmentSchema, {
        clusterName: name,
        endpoints:
          endpoints.length === 0
            ? []
            : [{ lbEndpoints: endpoints.map(({ address, port }, i) => lbEndpoint(address, port, i < maxChecked)) }],
      }),
  };
}
