import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { JsonObject } from "../../src/envoy/bootstrap.ts";
import { eventually, startEnvoy } from "./harness.ts";

/** What is put before Envoy: a certificate to present, or authorities to trust. */
export type Candidate =
  | { readonly certPem: string; readonly keyPem: string }
  | { readonly trustedPem: string; readonly own: { readonly certPem: string; readonly keyPem: string } };

const APPLY_MS = 10_000;
const TYPES = "type.googleapis.com/envoy";

/** Envoy's words for each candidate that it refuses, by the candidate's name. */
export async function refusedByEnvoy(
  binary: string,
  candidates: ReadonlyMap<string, Candidate>,
): Promise<ReadonlyMap<string, string>> {
  const folder = await mkdtemp(join(tmpdir(), "isoline-certificates-"));
  const path = join(folder, "listeners.json");
  const names = [...candidates.keys()];
  const resources = [...candidates.values()].map((candidate, i) => listener(i, candidate));
  await writeFile(path, JSON.stringify({ version_info: "1", resources }));
  try {
    const envoy = await startEnvoy({
      binary,
      config: (admin) => ({
        node: { id: "test", cluster: "test" },
        admin: { address: { pipe: { path: admin.pipe } } },
        dynamic_resources: { lds_config: { path_config_source: { path }, resource_api_version: "V3" } },
      }),
    });
    try {
      // A listener is there with a state or with an error, never in silence.
      return await eventually(async () => {
        const states = listenerStates(await envoy.configDump());
        if (!names.every((_, i) => states.has(`candidate-${i}`))) return false;
        const refused = new Map<string, string>();
        for (const [i, name] of names.entries()) {
          const details = states.get(`candidate-${i}`);
          if (details !== undefined) refused.set(name, details);
        }
        return refused;
      }, APPLY_MS);
    } finally {
      await envoy.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The listeners that Envoy was told of, each with the reason why it was refused. */
function listenerStates(dump: unknown): ReadonlyMap<string, string | undefined> {
  const { configs } = dump as {
    readonly configs: readonly {
      readonly dynamic_listeners?: readonly { readonly name: string; readonly error_state?: { details?: string } }[];
    }[];
  };
  const listeners = configs.flatMap(({ dynamic_listeners }) => dynamic_listeners ?? []);
  return new Map(listeners.map(({ name, error_state }) => [name, error_state && (error_state.details ?? "refused")]));
}

function listener(i: number, candidate: Candidate): JsonObject {
  const presented = "own" in candidate ? candidate.own : candidate;
  const common: JsonObject = {
    tls_certificates: [{ certificate_chain: inline(presented.certPem), private_key: inline(presented.keyPem) }],
    ...("own" in candidate ? { validation_context: { trusted_ca: inline(candidate.trustedPem) } } : {}),
  };
  return {
    "@type": `${TYPES}.config.listener.v3.Listener`,
    name: `candidate-${i}`,
    address: { socket_address: { address: "127.0.0.1", port_value: i + 1 } },
    bind_to_port: false,
    filter_chains: [
      {
        transport_socket: {
          name: "tls",
          typed_config: {
            "@type": `${TYPES}.extensions.transport_sockets.tls.v3.DownstreamTlsContext`,
            common_tls_context: common,
          },
        },
        filters: [
          {
            name: "close",
            typed_config: { "@type": `${TYPES}.extensions.filters.network.direct_response.v3.Config` },
          },
        ],
      },
    ],
  };
}

function inline(text: string): JsonObject {
  return { inline_string: text };
}
