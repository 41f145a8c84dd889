import { writeFile } from "node:fs/promises";
import { bootstrap } from "../envoy/bootstrap.ts";
import { toYaml } from "../sources/yaml-text.ts";
import type { BootstrapCommandOptions } from "./options.ts";

/** Writes the configuration that Envoy is started with; Envoy tells JSON from YAML by the name of the file, and so do we. */
export async function run({ file, bootstrap: options }: BootstrapCommandOptions): Promise<number> {
  const config = bootstrap(options);
  const text = file.endsWith(".json") ? `${JSON.stringify(config, undefined, 2)}\n` : toYaml(config);
  if (file === "-") process.stdout.write(text);
  else await writeFile(file, text);
  return 0;
}
