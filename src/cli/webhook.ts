import { isIP } from "node:net";
import { isName } from "../api/names.ts";
import type { Logger } from "../controller/log.ts";
import { LogLimit } from "../controller/log-limit.ts";
import type { Telemetry } from "../controller/telemetry.ts";
import type { KubeClient } from "../kube/client.ts";
import { REAL_CLOCK } from "../kube/clock.ts";
import type { ReviewSettings, RunningWebhook, WebhookReport } from "../webhook/webhook.ts";
import { addressFlag, type Flag, portFlag, serviceFlag, switchFlag, textFlag, UsageError } from "./flags.ts";

export type { RunningWebhook } from "../webhook/webhook.ts";

type ObjectName = { readonly namespace: string; readonly name: string };

/** What the flags say of the webhook. */
export type WebhookSettings = {
  readonly address: string;
  /** 0 is any that is free. */
  readonly port: number;
  /** By which the API server reaches it, in the namespace of the controller; undefined: by its address. */
  readonly service: ObjectName | undefined;
  readonly secret: string;
  readonly configuration: string | undefined;
  readonly isWarnOnly: boolean;
};

/** How often lines of one kind are written that strangers can cause. */
const LOG_MS = 60_000;

const PORT = portFlag(
  "webhook-port",
  "port on which the API server may ask about objects before they are written; none if not given; 0 is any",
  undefined,
  0,
);
const ADDRESS = addressFlag("webhook-address", "address for that", "127.0.0.1");
const SERVICE = serviceFlag(
  "webhook-service",
  "the Service by which the API server reaches it, and its Secret's namespace; by its address if not given",
);
const SECRET = textFlag("webhook-secret", "name", "the Secret that keeps its certificate", "isoline-webhook");
const CONFIGURATION = textFlag(
  "webhook-configuration",
  "name",
  "the ValidatingWebhookConfiguration that is told whom to trust; none if not given",
  undefined,
);
const WARN_ONLY = switchFlag("webhook-warn-only", "warn of mistakes instead of refusing them");

export const WEBHOOK_FLAGS: readonly Flag<unknown>[] = [PORT, ADDRESS, SERVICE, SECRET, CONFIGURATION, WARN_ONLY];

/** Undefined if there is to be none. */
export function readWebhook(read: <T>(flag: Flag<T>) => T): WebhookSettings | undefined {
  const port = read(PORT);
  const settings = {
    address: read(ADDRESS),
    service: read(SERVICE),
    secret: read(SECRET),
    configuration: read(CONFIGURATION),
    isWarnOnly: read(WARN_ONLY),
  };
  const { address, service, configuration, isWarnOnly } = settings;
  if (port === undefined) {
    const given = [
      service === undefined ? [] : SERVICE.name,
      configuration === undefined ? [] : CONFIGURATION.name,
      isWarnOnly ? WARN_ONLY.name : [],
    ].flat();
    if (given.length > 0) throw new UsageError(`--${given[0]} needs --${PORT.name}`);
    return undefined;
  }
  if (!isName(settings.secret)) throw new UsageError(`--${SECRET.name} must be the name of a Secret`);
  if (service === undefined && isAnywhere(address)) {
    throw new UsageError(`--${ADDRESS.name} ${address} is no address to be reached by: --${SERVICE.name} is needed`);
  }
  return { port, ...settings };
}

/** Starts it, if there is to be one; rejects with the error of the socket when the port cannot be had. */
export async function startWebhook(
  settings: WebhookSettings | undefined,
  controller: {
    readonly client: Pick<KubeClient, "request">;
    /** Its own. */
    readonly namespace: string;
    readonly compile: ReviewSettings["compile"];
    readonly isLeading: () => boolean;
    readonly telemetry: Pick<Telemetry, "bugs" | "reviews" | "reviewSeconds" | "webhookCertificate">;
    readonly log: Logger;
  },
): Promise<RunningWebhook | undefined> {
  if (settings === undefined) return undefined;
  const { address, service, secret } = settings;
  // Only who has a webhook loads what issues certificates.
  const webhook = await import("../webhook/webhook.ts");
  return webhook.startWebhook({
    ...settings,
    ...controller,
    thread: new URL("./webhook-thread.js", import.meta.url),
    secret: { namespace: service?.namespace ?? controller.namespace, name: secret },
    names: [
      ...(service === undefined ? [] : [webhook.serviceHostName(service)]),
      ...(isAnywhere(address) ? [] : [address]),
    ],
    now: Date.now,
    clock: REAL_CLOCK,
    onReport: teller(controller),
  });
}

export function teller({
  log,
  telemetry,
}: Pick<Parameters<typeof startWebhook>[1], "log" | "telemetry">): (report: WebhookReport) => void {
  // Anybody may connect, and say what they like.
  const [strangers, bugs] = [seldom(), seldom()];
  return (report) => tell(report, { log, telemetry, strangers, bugs });
}

function seldom(): LogLimit {
  return new LogLimit({ everyMs: LOG_MS, nowMs: REAL_CLOCK.nowMs });
}

function tell(
  report: WebhookReport,
  {
    log,
    telemetry,
    strangers,
    bugs,
  }: Parameters<typeof teller>[0] & { readonly strangers: LogLimit; readonly bugs: LogLimit },
): void {
  switch (report.kind) {
    case "reviewed": {
      const { kind, isAllowed, warnings } = report.verdict;
      telemetry.reviews.inc({ kind, verdict: isAllowed ? (warnings === 0 ? "allowed" : "warned") : "refused" });
      telemetry.reviewSeconds.observe(report.ms / 1000);
      return;
    }
    case "unreadable": {
      telemetry.reviews.inc({ kind: "other", verdict: "unreadable" });
      const told = strangers.take();
      if (told !== undefined) log.warn({ reason: report.reason, ...told }, "webhook: asked for what is no review");
      return;
    }
    case "bug": {
      telemetry.bugs.inc();
      const told = bugs.take();
      if (told !== undefined) log.error({ err: report.error, ...told }, "webhook: a bug in Isoline: a review failed");
      return;
    }
    case "ended":
      log.error({ reason: report.error.message }, "webhook: what reviews objects has ended, and is begun anew");
      return;
    case "shown":
      telemetry.webhookCertificate(report.notAfterMs);
      return;
    case "stepped":
      log.info(
        { step: report.step, until: new Date(report.notAfterMs).toISOString() },
        "webhook: the Secret has other certificates",
      );
      return;
    case "injected":
      log.info({ configuration: report.configuration }, "webhook: told the API server whom to trust");
      return;
    case "trouble":
      log.warn({ reason: report.error.message }, "webhook: its certificates cannot be looked after, going on trying");
      return;
    case "recovered":
      log.info("webhook: its certificates are looked after again");
      return;
  }
}

function isAnywhere(address: string): boolean {
  return address === "0.0.0.0" || (isIP(address) === 6 && /^[0:]+$/.test(address));
}
