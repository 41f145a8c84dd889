import type { KubeClient } from "../kube/client.ts";
import type { Clock } from "../kube/clock.ts";
import { CertificateKeeper, type KeeperOptions, type KeeperReport } from "./certificate-keeper.ts";
import type { ReviewOptions } from "./review.ts";
import { ReviewThread, type ThreadReport } from "./review-thread.ts";

export type WebhookReport = ThreadReport | KeeperReport;

/** What a thread can be told; it brings what reads regular expressions. */
export type ReviewSettings = {
  readonly compile: Omit<ReviewOptions["compile"], "readRegex">;
  readonly isWarnOnly: boolean;
};

export type WebhookOptions = ReviewSettings &
  Pick<KeeperOptions, "secret" | "names" | "configuration" | "isLeading" | "now"> & {
    /** What answers reviews, in a thread of its own: it is given {@link ReviewSettings}. */
    readonly thread: URL;
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
  const { thread, compile, isWarnOnly, clock, onReport } = options;
  const { rootNamespaces, ingressClass, minimumTlsVersion } = compile;
  const settings: ReviewSettings = { compile: { rootNamespaces, ingressClass, minimumTlsVersion }, isWarnOnly };
  const server = new ReviewThread({ script: thread, settings, clock, onReport });
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
