import { translateOptions } from "../controller/settings.ts";
import { envoyForm } from "../envoy/form.ts";
import { toYaml } from "../sources/yaml-text.ts";
import { translate } from "../translate/translate.ts";
import { findingLine, findingsOf } from "./findings.ts";
import type { TranslateCommandOptions } from "./options.ts";
import { readInput } from "./read-input.ts";

/**
 * Prints what an Envoy would be sent, in Envoy's own form. The objects' problems are part of what is translated and no
 * failure; a file that could not be read is one, as something may be missing.
 */
export async function run({ paths, ...settings }: TranslateCommandOptions): Promise<number> {
  const read = await readInput(paths);
  const translation = translate(read.objects, translateOptions(settings));
  for (const finding of findingsOf(read, translation, Date.now())) process.stderr.write(`${findingLine(finding)}\n`);
  process.stdout.write(toYaml(envoyForm(translation.resources)));
  return read.problems.some(({ severity }) => severity === "error") ? 1 : 0;
}
