import type { KubeClient } from "../kube/client.ts";
import type { Clock } from "../kube/clock.ts";
import { CertificateKeeper, type KeeperOptions, type KeeperReport } from "./certificate-keeper.ts";
import { type ReviewOptions, review } from "./review.ts";
import { type ReviewReport, ReviewServer } from "./review-server.ts";

export type WebhookReport = ReviewReport | KeeperReport;

export type WebhookOptions = ReviewOptions &
  Pick<KeeperOptions, "secret" | "names" | "configuration" | "isLeading" | "now"> & {
    readonly client: Pick<KubeClient, "request">;
    readonly address: string;
    /** 0 is any that is free. */
    readonly port: number;
    readonly clock: Clock;
    readonly onReport: (report: WebhookReport) => void;
    /** In place of {@link RENEWAL}, for tests. */
    readonly renewal?: Partial<Renewal>;
  };

type Renewal = Pick<KeeperOptions, "lifetimeMs" | "renewBeforeMs" | "overlapMs" | "intervalMs">;

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

const RENEWAL: Renewal = {
  lifetimeMs: 90 * DAY_MS,
  renewBeforeMs: 30 * DAY_MS,
  overlapMs: 60 * MINUTE_MS,
  intervalMs: MINUTE_MS,
};

export type RunningWebhook = {
  readonly port: number;
  /** To be told when this replica begins to lead. */
  readonly leading: () => void;
  readonly stop: () => Promise<void>;
};

/** Answers reviews, on every replica. Rejects with the error of the socket when the port cannot be had. */
export async function startWebhook(options: WebhookOptions): Promise<RunningWebhook> {
  const server = new ReviewServer({
    review: (body) => review(body, options),
    monotonicMs: options.clock.nowMs,
    onReport: options.onReport,
  });
  const keeper = new CertificateKeeper({
    ...RENEWAL,
    ...options.renewal,
    ...options,
    onCertificate: ({ chainPem, key }) => server.use({ certPem: chainPem, key }),
  });
  const port = await server.listen(options.address, options.port);
  keeper.start();
  return {
    port,
    leading: () => keeper.wake(),
    stop: async () => {
      await Promise.all([keeper.stop(), server.close()]);
    },
  };
}

/** The name by which the API server calls a webhook behind a Service. */
export function serviceHostName({ namespace, name }: { readonly namespace: string; readonly name: string }): string {
  return `${name}.${namespace}.svc`;
}
