import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { ReflectorEvent } from "../kube/reflector.ts";
import type { EventReport } from "../status/reporter.ts";
import type { Waiting, WriteReport } from "../status/writer.ts";
import type { Translator } from "../translate/translator.ts";
import { nameOfEnvoy } from "../xds/envoys.ts";
import type { ServerReport, StreamLoad } from "../xds/server.ts";

/** The numbers of one controller, in a registry of its own. */
export class Telemetry {
  readonly registry: Registry = new Registry();
  readonly batches: Counter = new Counter({
    name: "isoline_batches_total",
    help: "Batches of changes that were applied.",
    registers: [this.registry],
  });
  readonly applySeconds: Histogram = new Histogram({
    name: "isoline_apply_seconds",
    help: "Time from a batch of changes to the resources it made different.",
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5],
    registers: [this.registry],
  });
  readonly bugs: Counter = new Counter({
    name: "isoline_bugs_total",
    help: "Hosts that could not be compiled because of a bug in Isoline; they keep what they served.",
    registers: [this.registry],
  });
  readonly reviews: Counter<"kind" | "verdict"> = new Counter({
    name: "isoline_webhook_reviews_total",
    help: "Objects that the API server asked about before they were written, by what it was told.",
    labelNames: ["kind", "verdict"],
    registers: [this.registry],
  });
  readonly reviewSeconds: Histogram = new Histogram({
    name: "isoline_webhook_review_seconds",
    help: "Time to look at such an object.",
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1],
    registers: [this.registry],
  });
  #webhookNotAfter: Gauge | undefined;

  /** When the certificate that the webhook shows ends; there is no such number without a webhook. */
  webhookCertificate(notAfterMs: number): void {
    this.#webhookNotAfter ??= new Gauge({
      name: "isoline_webhook_certificate_not_after_seconds",
      help: "When the certificate that the webhook shows ends, in seconds since 1970.",
      registers: [this.registry],
    });
    this.#webhookNotAfter.set(notAfterMs / 1000);
  }

  /** What is counted of the kinds that are read from an API server. */
  kubernetes(nowMs: () => number): (kind: string, event: ReflectorEvent) => void {
    const counter = <Label extends string>(name: string, help: string, ...labelNames: readonly Label[]) =>
      new Counter({ name, help, labelNames: ["kind", ...labelNames], registers: [this.registry] });
    const lists = counter(
      "isoline_kubernetes_lists_total",
      "Lists of all objects of a kind that were begun: the first, expired (410), setback, unreadable, or after a bug.",
      "reason",
    );
    const watches = counter("isoline_kubernetes_watches_total", "Watches of a kind that were begun.");
    const events = counter("isoline_kubernetes_events_total", "Changes that watches of a kind have told.");
    const errors = counter(
      "isoline_kubernetes_errors_total",
      "Lists and watches that failed, by the status of the answer or what happened to the connection.",
      "error",
    );
    const heardAtMs = new Map<string, number>();
    new Gauge({
      name: "isoline_kubernetes_silence_seconds",
      help: "Time since the API server has said anything about a kind; it does so once a minute at least.",
      labelNames: ["kind"],
      registers: [this.registry],
      collect: function collect() {
        for (const [kind, ms] of heardAtMs) this.set({ kind }, (nowMs() - ms) / 1000);
      },
    });
    return (kind, event) => {
      // From the first request on, even if that is never answered.
      if (event.kind === "heard" || !heardAtMs.has(kind)) heardAtMs.set(kind, nowMs());
      switch (event.kind) {
        case "list":
          lists.inc({ kind, reason: event.reason });
          return;
        case "watch":
          watches.inc({ kind });
          return;
        case "heard":
          events.inc({ kind }, event.events);
          return;
        case "error":
          errors.inc({ kind, error: event.label });
          return;
      }
    };
  }

  /** What is counted of the streams to Envoys, and read off them when somebody asks. */
  xds(streams: () => readonly StreamLoad[]): (report: ServerReport) => void {
    const counter = <Label extends string>(name: string, help: string, ...labelNames: readonly Label[]) =>
      new Counter({ name, help, labelNames, registers: [this.registry] });
    const opened = counter("isoline_xds_streams_opened_total", "Streams that Envoys have opened.");
    const ended = counter(
      "isoline_xds_streams_ended_total",
      "Streams that have ended: by Envoy or with its connection, malformed, by a bug, or stopped with us.",
      "reason",
    );
    const sent = counter("isoline_xds_sent_resources_total", "Resources that Envoys were sent.", "type");
    const nacks = counter("isoline_xds_nacks_total", "Responses that an Envoy refused.", "type");
    const refused = counter("isoline_xds_refused_resources_total", "Resources that an Envoy refused.", "type");
    const gauge = <Label extends string>(
      name: string,
      help: string,
      labelNames: readonly Label[],
      collect: (into: Gauge<Label>) => void,
    ) => {
      const collected: Gauge<Label> = new Gauge({
        name,
        help,
        labelNames,
        registers: [this.registry],
        collect: () => {
          collected.reset(); // of Envoys that are gone nothing is left
          collect(collected);
        },
      });
    };
    gauge(
      "isoline_xds_silence_seconds",
      "Time since an Envoy has said anything; it has nothing to say where nothing is pending.",
      ["envoy"],
      (into) => {
        for (const { envoy, silentMs } of streams()) into.set({ envoy: nameOfEnvoy(envoy) }, silentMs / 1000);
      },
    );
    gauge(
      "isoline_xds_pending_resources",
      "Resources that an Envoy is still to be sent, or has not answered for.",
      ["envoy", "type"],
      (into) => {
        for (const { envoy, pending } of streams()) {
          for (const [type, count] of Object.entries(pending)) into.inc({ envoy: nameOfEnvoy(envoy), type }, count);
        }
      },
    );
    return (report) => {
      switch (report.kind) {
        case "connected":
          opened.inc();
          return;
        case "disconnected":
          ended.inc({ reason: report.reason });
          return;
        case "sent":
          sent.inc({ type: report.type }, report.set.length);
          return;
        case "refused":
          refused.inc({ type: report.type });
          nacks.inc({ type: report.type });
          return;
        case "retried":
          nacks.inc({ type: report.type });
          return;
        case "bug":
          this.bugs.inc();
          return;
        case "accepted":
        case "claimed":
        case "malformed":
        case "unknownType":
          return;
      }
    };
  }

  /** What is counted of the statuses and Events that are written. */
  statuses(waiting: { readonly statuses: () => Waiting; readonly events: () => number }): {
    readonly write: (report: WriteReport) => void;
    readonly event: (report: EventReport) => void;
  } {
    const writes = new Counter({
      name: "isoline_status_writes_total",
      help: "Attempts to write a status, by what came of them.",
      labelNames: ["result"],
      registers: [this.registry],
    });
    const events = new Counter({
      name: "isoline_events_total",
      help: "Kubernetes Events that were made or dropped.",
      labelNames: ["result"],
      registers: [this.registry],
    });
    const { statuses } = waiting;
    this.#gauge("isoline_statuses_waiting", "Statuses that wait to be written.", () => statuses().count);
    this.#gauge(
      "isoline_statuses_waiting_seconds",
      "For how long the status waits that waits longest; 0 when none does.",
      () => statuses().oldestMs / 1000,
    );
    this.#gauge("isoline_events_waiting", "Kubernetes Events that wait to be made.", waiting.events);
    return {
      write: ({ kind }) => writes.inc({ result: kind }),
      event: ({ kind }) => events.inc({ result: kind }),
    };
  }

  /** Whether this replica is the one that writes. */
  leading(isLeading: () => boolean): void {
    this.#gauge("isoline_leading", "1 when this replica is the one that writes statuses.", () => Number(isLeading()));
  }

  #gauge(name: string, help: string, read: () => number): void {
    new Gauge({
      name,
      help,
      registers: [this.registry],
      collect: function collect() {
        this.set(read());
      },
    });
  }

  /** Numbers that are read off when somebody asks. */
  observe(state: {
    readonly translator: Translator;
    readonly connectedEnvoys: () => number;
    readonly isSynced: () => boolean;
  }): void {
    const { translator } = state;
    this.#gauge("isoline_synced", "1 when everything that there is to read has been read once.", () =>
      Number(state.isSynced()),
    );
    this.#gauge("isoline_envoys", "Envoys that are connected.", state.connectedEnvoys);
    this.#gauge("isoline_hosts", "Hosts of which something is served.", () => translator.hosts().length);
    this.#gauge(
      "isoline_failing",
      "Hosts and statuses that a bug keeps as they were.",
      () => translator.failing().size,
    );
    this.#gauge("isoline_hosts_compiled", "Compilations of a host so far.", () => translator.work().unitsCompiled);
    this.#gauge(
      "isoline_resources_encoded",
      "Envoy resources encoded so far.",
      () => translator.work().resourcesEncoded,
    );
    new Gauge({
      name: "isoline_ingressroutes",
      help: "IngressRoutes by status.",
      labelNames: ["status"],
      registers: [this.registry],
      collect: function collect() {
        const counts = { valid: 0, invalid: 0, orphaned: 0 };
        for (const { currentStatus } of translator.verdicts().values()) counts[currentStatus]++;
        for (const [status, count] of Object.entries(counts)) this.set({ status }, count);
      },
    });
  }
}
