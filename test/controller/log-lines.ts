import { createLog, type Logger } from "../../src/controller/log.ts";

/** A log whose lines can be looked at. */
export function logOfLines(): { readonly log: Logger; readonly lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const log = createLog({ level: "info", format: "json" }, (line) => {
    const { time, ...rest } = JSON.parse(line);
    lines.push(rest);
  });
  return { log, lines };
}
