import type { KubeClient } from "../kube/client.ts";
import { ApiError, ConnectionError } from "../kube/errors.ts";
import { type ElectionReport, LeaderElector, type Need } from "../kube/lease.ts";
import type { TimerClock } from "../kube/timer-clock.ts";
import type { Logger } from "./log.ts";

export type ElectionOptions = {
  readonly client: Pick<KubeClient, "request">;
  readonly namespace: string;
  readonly name: string;
  /** No other process has the same. */
  readonly identity: string;
  /** How many Envoys are connected to this replica. */
  readonly connected: () => number;
  readonly clock: TimerClock;
  readonly random: () => number;
  readonly onChange: (isLeading: boolean) => void;
  readonly log: Logger;
};

/** How often it fails before that is told: what the next attempt mends is no news. */
const PATIENCE = 2;

/** How long a leader without Envoys waits for one: a while longer than a restart of them takes. */
const IDLE_MS = 30_000;

/** Statuses tell whether the Envoys of the replica that leads have accepted everything: one that has some should lead. */
function needOf({ connected, clock }: Pick<ElectionOptions, "connected" | "clock">): () => Need {
  let idleSinceMs: number | undefined;
  return () => {
    const now = clock.monotonicMs();
    idleSinceMs = connected() > 0 ? undefined : (idleSinceMs ?? now);
    if (idleSinceMs === undefined) return "lead";
    return now - idleSinceMs < IDLE_MS ? "neither" : "yield";
  };
}

/** Takes part in the election from its `start` on, and tells the log of it. */
export function createElection(options: ElectionOptions): LeaderElector {
  const { namespace, name, identity, log } = options;
  const lease = `${namespace}/${name}`;
  const tellTrouble = troubleTeller(options);
  return new LeaderElector({
    ...options,
    need: needOf(options),
    onChange: (isLeading) => {
      if (isLeading) log.info({ lease, identity }, "leading: this replica writes statuses");
      else log.info({ lease, identity }, "not leading any more: this replica writes no statuses");
      options.onChange(isLeading);
    },
    observer: (report) => {
      tellTrouble(report);
      if (report.kind === "other") log.info({ lease, holder: report.holder }, "another replica has the Lease");
      if (report.kind === "yielded")
        log.info({ lease, to: report.to }, "no Envoy is connected here: handing over to a replica that has one");
      if (report.kind === "created") {
        log.info(
          { lease, waitMs: report.waitMs },
          "there was no Lease: somebody leads when the new one has stood still",
        );
      }
    },
  });
}

function troubleTeller({ namespace, name, log }: ElectionOptions): (report: ElectionReport) => void {
  let failures = 0;
  let told: string | undefined;
  return (report) => {
    switch (report.kind) {
      case "other":
      case "created":
      case "yielded":
        return;
      case "trouble": {
        failures++;
        const text = troubleText(report.error);
        if (failures < PATIENCE || text === told) return;
        told = text;
        log.error(`the Lease ${namespace}/${name} cannot be kept: ${text}; what is served stays as it is`);
        return;
      }
      case "recovered":
        if (told !== undefined) log.info(`the Lease ${namespace}/${name} can be kept again`);
        failures = 0;
        told = undefined;
        return;
    }
  };
}

function troubleText(error: unknown): string {
  const words = error instanceof Error ? error.message : String(error);
  if (error instanceof ConnectionError) return `the API server cannot be reached: ${words}`;
  if (!(error instanceof ApiError)) return `a bug in Isoline: ${words}`;
  switch (error.status) {
    case 401:
      return `the API server does not believe who this is: ${words}`;
    case 403:
      return `the role of this controller needs the verbs get, update and create for leases: ${words}`;
    case 404:
      return `there is no such namespace; another can be named with --leader-election-namespace: ${words}`;
    default:
      return words;
  }
}
