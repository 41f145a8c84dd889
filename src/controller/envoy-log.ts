import { nameOfEnvoy } from "../xds/envoys.ts";
import type { ServerReport } from "../xds/server.ts";
import { BoundedLog } from "./bounded-log.ts";
import type { Logger } from "./log.ts";

const FULL = "more of this kind is to be said of Envoys than is logged; /api/envoys and the metrics tell what holds";

/** A name that somebody gives himself may be of any length. */
const MAX_NAME = 200;

/** Logs what Envoys do. Whoever can connect can do it without end; each kind of line has its share. */
export function envoyTeller(log: Logger, nowMs: () => number): (report: ServerReport) => void {
  const bounded = new BoundedLog({ log, nowMs, group: "lines", full: FULL });
  return (report) => {
    const { envoy, ...facts } = report;
    const who = nameOfEnvoy(envoy).slice(0, MAX_NAME);
    const write = (level: "info" | "warn" | "error", more: object, text: string) =>
      bounded.write(level, facts.kind, more, text);
    switch (facts.kind) {
      case "connected":
        write("info", { envoy: envoy.address }, "an Envoy has connected");
        return;
      case "disconnected":
        write("info", { envoy: envoy.address, reason: facts.reason }, "an Envoy has disconnected");
        return;
      case "refused":
        write(
          "error",
          { envoy: who, resource: facts.name, origins: facts.origins, message: facts.message },
          `Envoy refused a ${facts.type}; it keeps what it had of it, and everything else goes on`,
        );
        return;
      case "retried":
        write(
          "warn",
          { envoy: who, type: facts.type, message: facts.message },
          "Envoy refused a response; looking for the culprit",
        );
        return;
      case "unknownType":
        write(
          "warn",
          { envoy: who, type: facts.typeUrl.slice(0, MAX_NAME) },
          "Envoy asked for a type that is not served",
        );
        return;
      case "malformed":
        write("error", { envoy: who, err: facts.error }, "not an Envoy");
        return;
      case "bug":
        write("error", { envoy: who, err: facts.error }, "a bug in Isoline: the stream was ended");
        return;
      case "sent":
        log.debug(
          { envoy: who, type: facts.type, set: facts.set.length, removed: facts.removed.length, bytes: facts.bytes },
          "sent",
        );
        return;
      case "claimed":
        log.debug({ envoy: who, type: facts.type, resources: facts.resources }, "held from before");
        return;
      case "accepted":
        log.debug({ envoy: who, type: facts.type, resources: facts.resources.length }, "accepted");
        return;
    }
  };
}
