import { type DestinationStream, type Logger, pino } from "pino";
import { printable } from "../api/printable.ts";

export type { Logger } from "pino";

export type LogOptions = { readonly level: string; readonly format: "text" | "json" };

/** Writes to standard error, so that what a command prints can be used by another. */
export function createLog({ level, format }: LogOptions, write: (text: string) => void): Logger {
  const destination: DestinationStream = { write: format === "json" ? write : (line) => write(asText(line)) };
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}

/** `2026-01-02T03:04:05.678Z warn a message key=value`, on one line whatever the values hold. */
function asText(line: string): string {
  const { time, level, msg, ...fields }: Record<string, unknown> = JSON.parse(line);
  const label = pino.levels.labels[Number(level)] ?? "info";
  const pairs = Object.entries(fields).map(([key, value]) => ` ${key}=${JSON.stringify(value)}`);
  return `${printable(`${time} ${label} ${String(msg ?? "")}${pairs.join("")}`)}\n`;
}
