import { namespaceOf, shortName } from "../api/object-key.ts";
import type { WriteReport } from "../status/writer.ts";
import { objectLog } from "./bounded-log.ts";
import type { Logger } from "./log.ts";

/** Logs what becomes of statuses. Each namespace has its own share of lines, beside the one for its verdicts. */
export function writeTeller(log: Logger, nowMs: () => number): (report: WriteReport) => void {
  const bounded = objectLog(log, nowMs);
  return (report) => {
    const [kind] = report.key.split("/");
    const object: { readonly object: string } = { object: `${kind} ${shortName(report.key)}` };
    const write = (level: "warn" | "error", facts: object, text: string) =>
      bounded.write(level, namespaceOf(report.key), { ...object, ...facts }, text);
    switch (report.kind) {
      case "written":
        log.debug(object, "status written");
        return;
      case "retried":
        write("warn", { err: report.error, inMs: Math.round(report.inMs) }, "a status could not be written yet");
        return;
      case "dropped":
        // That the object is gone or another is no trouble.
        log.debug({ ...object, err: report.error }, "a status was for an object that is gone");
        return;
      case "reduced":
        write("warn", { err: report.error }, "a status is refused with the conditions of others, which are left out");
        return;
      case "refused":
        write("error", { err: report.error }, "the API server refused a status");
        return;
      case "altered":
        write(
          "error",
          {},
          "the API server keeps only parts of a status: is the CustomResourceDefinition that of this version?",
        );
        return;
    }
  };
}
