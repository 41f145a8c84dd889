import { SNISchema } from "#proto/envoy/extensions/transport_sockets/tls/cert_mappers/sni/v3/sni_pb.js";
import { ConfigSchema as OnDemandSecretSchema } from "#proto/envoy/extensions/transport_sockets/tls/cert_selectors/on_demand_secret/v3/config_pb.js";
import { TlsParameters_TlsProtocol } from "#proto/envoy/extensions/transport_sockets/tls/v3/common_pb.js";
import { DownstreamTlsContextSchema } from "#proto/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import type * as ir from "../ir/ir.ts";
import { ADS } from "./ads.ts";
import { extension, type Filter, filter } from "./extension.ts";

const VERSIONS = {
  "1.1": TlsParameters_TlsProtocol.TLSv1_1,
  "1.2": TlsParameters_TlsProtocol.TLSv1_2,
  "1.3": TlsParameters_TlsProtocol.TLSv1_3,
} as const;

/** All versions that Envoy can be asked for from this one up. */
export function versionsFrom(lowest: ir.TlsVersion): readonly ir.TlsVersion[] {
  return (["1.1", "1.2", "1.3"] as const).filter((version) => version >= lowest);
}

/** What a client without a server name is taken to ask for: no host has this name, so it is refused. */
const NO_SERVER_NAME = "|";

/**
 * Ciphers of TLS before 1.3, all with forward secrecy. Envoy's own list has none that TLS 1.1 could use; those at the end
 * are for it alone.
 */
const CIPHERS_WITH_1_1 = [
  "[ECDHE-ECDSA-AES128-GCM-SHA256|ECDHE-ECDSA-CHACHA20-POLY1305]",
  "[ECDHE-RSA-AES128-GCM-SHA256|ECDHE-RSA-CHACHA20-POLY1305]",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-AES128-SHA",
  "ECDHE-RSA-AES128-SHA",
  "ECDHE-ECDSA-AES256-SHA",
  "ECDHE-RSA-AES256-SHA",
];

/** Ends the TLS of clients, with the certificate of the host that they ask for, which Envoy fetches when it first needs it. */
export function terminateTls(minimum: ir.TlsVersion, alpnProtocols: readonly string[]): Filter {
  const onDemand = extension("on_demand_secret", OnDemandSecretSchema, {
    configSource: ADS,
    certificateMapper: extension("server_name", SNISchema, { defaultValue: NO_SERVER_NAME }),
  });
  return filter("envoy.transport_sockets.tls", DownstreamTlsContextSchema, {
    // Certificates on demand do not go together with resumption: Envoy refuses the listener.
    sessionTicketKeysType: { case: "disableStatelessSessionResumption", value: true },
    disableStatefulSessionResumption: true,
    commonTlsContext: {
      alpnProtocols: [...alpnProtocols],
      tlsParams: {
        tlsMinimumProtocolVersion: VERSIONS[minimum],
        tlsMaximumProtocolVersion: TlsParameters_TlsProtocol.TLSv1_3,
        cipherSuites: minimum === "1.1" ? CIPHERS_WITH_1_1 : [],
      },
      customTlsCertificateSelector: onDemand,
    },
  });
}
