import { translateOptions } from "../controller/settings.ts";
import { translate } from "../translate/translate.ts";
import { type Finding, findingLine, findingsOf } from "./findings.ts";
import type { CheckOptions } from "./options.ts";
import { readInput } from "./read-input.ts";

/** Tells everything that is wrong with the objects in some files; the exit code says whether something is. */
export async function run({ paths, output, ...settings }: CheckOptions): Promise<number> {
  const read = await readInput(paths);
  // Where Envoy listens makes no difference to what is wrong.
  const envoy = {
    address: "0.0.0.0",
    httpPort: 8080,
    httpsPort: 8443,
    accessLog: false,
    trustedHops: 0,
    redirectPort: undefined,
  };
  const findings = findingsOf(read, translate(read.objects, translateOptions({ ...settings, envoy })), Date.now());
  if (output === "json") {
    process.stdout.write(`${JSON.stringify(findings.map(asJson), undefined, 2)}\n`);
  } else if (findings.length === 0) {
    const what = `${counted(read.objects.length, "object")} in ${counted(read.fileCount, "file")}`;
    process.stdout.write(`checked ${what}: nothing wrong\n`);
  } else {
    process.stdout.write(findings.map((finding) => `${findingLine(finding)}\n`).join(""));
  }
  return findings.some(({ severity }) => severity === "error") ? 1 : 0;
}

function asJson({ place, ...finding }: Finding) {
  return { ...place, ...finding };
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
