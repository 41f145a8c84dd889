import type { EndpointSlice } from "../api/endpoint-slice.ts";
import { byCodeUnit } from "../api/order.ts";
import type * as ir from "../ir/ir.ts";

/**
 * The endpoints of one port of one Service. Ready ones only; those that still serve while they terminate stand in when
 * nothing is ready. A dual-stack Service has every pod in slices of both families: one family is used, IPv4 if it has any.
 */
export function compileEndpoints(
  port: ir.ServicePort,
  slices: readonly EndpointSlice[],
): ir.LoadAssignment["endpoints"] {
  for (const state of ["ready", "draining"] as const) {
    for (const family of ["IPv4", "IPv6"] as const) {
      const endpoints = endpointsOf(slices, port.portName, state, family);
      if (endpoints.length > 0) return endpoints;
    }
  }
  return [];
}

function endpointsOf(
  slices: readonly EndpointSlice[],
  portName: string,
  state: "ready" | "draining",
  family: EndpointSlice["family"],
): ir.LoadAssignment["endpoints"] {
  const found = new Map<string, { readonly address: string; readonly port: number }>();
  for (const slice of slices) {
    if (slice.family !== family) continue;
    for (const { name, port } of slice.ports) {
      if (name !== portName) continue;
      for (const endpoint of slice.endpoints) {
        const { address } = endpoint;
        if (endpoint.state === state) found.set(`${address} ${port}`, { address, port });
      }
    }
  }
  return [...found].sort(([a], [b]) => byCodeUnit(a, b)).map(([, endpoint]) => endpoint);
}
