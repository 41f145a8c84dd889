import { KINDS } from "../api/kinds.ts";
import type { ObjectKey } from "../api/object-key.ts";
import { objectKey } from "../api/object-key.ts";
import type { KubeClient } from "../kube/client.ts";
import { ApiError } from "../kube/errors.ts";
import { SYSTEM_CLOCK, type TimerClock } from "../kube/timer-clock.ts";
import { KubernetesSource, type StatusListener } from "../sources/kubernetes.ts";
import type { Source, SourceListener } from "../sources/source.ts";
import { type LoadBalancer, StatusReporter, type StatusSink } from "../status/reporter.ts";
import type { Logger } from "./log.ts";
import type { Telemetry } from "./telemetry.ts";
import { writeTeller } from "./write-log.ts";

export type ClusterOptions = {
  readonly client: KubeClient;
  /** What is written to the status of Ingresses. */
  readonly loadBalancer: LoadBalancer;
  /** Which replica this is. */
  readonly instance: string;
  /** Whether this replica is the one that writes: asked before every write. */
  readonly isLeading: () => boolean;
  readonly log: Logger;
  readonly clock?: TimerClock;
};

/** What ties a controller to a cluster: where its objects come from, and where is written what is to be said of them. */
export class Cluster {
  readonly #options: ClusterOptions;
  #reporter: StatusReporter | undefined;

  constructor(options: ClusterOptions) {
    this.#options = options;
  }

  /** For `RunOptions`. */
  readonly status = (telemetry: Telemetry): StatusSink => {
    const { client, loadBalancer, instance, isLeading, log, clock = SYSTEM_CLOCK } = this.#options;
    const counts = telemetry.statuses({ statuses: () => reporter.waiting(), events: () => reporter.waitingEvents });
    const tellMissing = missingRights(log);
    const tellWrite = writeTeller(log, () => performance.now());
    const reporter = new StatusReporter({
      ...{ client, loadBalancer, instance, isLeading, clock },
      random: Math.random,
      onWrite: (report) => {
        counts.write(report);
        if (report.kind !== "retried" || !tellMissing("patch", report.key, report.error)) tellWrite(report);
      },
      onEvent: (report) => {
        counts.event(report);
        if (report.kind === "dropped" && !tellMissing("create", report.object, report.error))
          log.debug({ object: report.object, err: report.error }, "an Event was dropped");
      },
    });
    this.#reporter = reporter;
    return reporter;
  };

  /** For `RunOptions`. */
  readonly source = (listener: SourceListener, telemetry: Telemetry): Source => {
    const observer = telemetry.kubernetes(() => performance.now());
    return new KubernetesSource({ client: this.#options.client, observer, statuses: this.#statuses() }, listener);
  };

  /** To be told when that changes. */
  leading(isLeading: boolean): void {
    this.#reporter?.leading(isLeading);
  }

  /** Resolves when no write is on its way. */
  async stop(): Promise<void> {
    await this.#reporter?.stop();
  }

  #statuses(): StatusListener {
    const { loadBalancer } = this.#options;
    const service =
      loadBalancer.kind === "service" ? objectKey("Service", loadBalancer.namespace, loadBalancer.name) : undefined;
    return {
      wants: (key) => key.startsWith("IngressRoute/") || key.startsWith("Ingress/") || key === service,
      seen: (key, status) => {
        if (key === service) this.#reporter?.observeLoadBalancer(status);
        else this.#reporter?.observe(key, status);
      },
    };
  }
}

/**
 * Tells once of a right that is missing, and not for each object that it is missing for. Returns whether this is such a case,
 * and not the refusal of one object by some policy.
 */
function missingRights(log: Logger): (verb: "patch" | "create", key: ObjectKey, error: unknown) => boolean {
  const told = new Set<string>();
  return (verb, key, error) => {
    if (!(error instanceof ApiError) || error.status !== 403 || !error.message.includes(` cannot ${verb} resource `))
      return false;
    const [kind = ""] = key.split("/");
    const right = verb === "create" ? "create events in events.k8s.io" : `patch ${statusResource(kind)}`;
    const { message } = error;
    if (!told.has(right)) log.error(`the role of this controller needs the right to ${right}: ${message}`);
    told.add(right);
    return true;
  };
}

function statusResource(kind: string): string {
  const { plural, apiVersions } = KINDS.find((each) => each.kind === kind) ?? {};
  return `${plural}/status in ${apiVersions?.[0]?.split("/")[0]}`;
}
