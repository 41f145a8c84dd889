import { isLoopback } from "./flags.ts";
import type { ControllerOptions } from "./serve.ts";

/** What somebody on another machine can get at, by what the flags say. */
export function exposures({ xds, http }: Pick<ControllerOptions, "xds" | "http">): readonly string[] {
  const insecureXds =
    xds.tls === undefined && !isLoopback(xds.address)
      ? [
          `--insecure: whoever can connect to xDS on ${xds.address} reads the private keys of all certificates that are ` +
            "served, and can use up memory; with --xds-cert-file, --xds-key-file and --xds-ca-file only Envoys can",
        ]
      : [];
  const openApi = isLoopback(http.address)
    ? []
    : [
        `--http-address: whoever can connect to HTTP on ${http.address} reads the routes of all namespaces; ` +
          "--health-address and --health-port have health and metrics alone",
      ];
  return [...insecureXds, ...openApi];
}
