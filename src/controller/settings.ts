import type { CompileOptions } from "../compile/options.ts";
import type { ListenerOptions } from "../envoy/listeners.ts";
import type { TranslateOptions } from "../translate/translator.ts";
import { digest } from "./digest.ts";
import { readCertificates } from "./key-pairs.ts";
import { readRegex, rememberedRegexes } from "./regexes.ts";
import { rememberedCertificates } from "./remembered-certificates.ts";

/** What whoever runs Isoline decides about how objects are translated. */
export type Settings = Omit<CompileOptions, "readCertificates" | "readRegex"> & {
  /** How many connections the health checks of the endpoints of one namespace may take of each Envoy. */
  readonly maxHealthCheckConnections: number;
  /** Where Envoy listens, and what holds for all who connect to it. */
  readonly envoy: Omit<ListenerOptions, "minimumTlsVersion">;
};

/** The settings together with what the core is lent by the platform. */
export function translateOptions({ envoy, maxHealthCheckConnections, ...compile }: Settings): TranslateOptions {
  const { minimumTlsVersion } = compile;
  return {
    compile: {
      ...compile,
      readCertificates: rememberedCertificates(readCertificates),
      readRegex: rememberedRegexes(readRegex),
    },
    listeners: { ...envoy, minimumTlsVersion },
    maxHealthCheckConnections,
    digest,
  };
}
