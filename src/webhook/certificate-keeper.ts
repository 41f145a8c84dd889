import type { KubeClient } from "../kube/client.ts";
import type { Clock } from "../kube/clock.ts";
import { ApiError } from "../kube/errors.ts";
import { resourcePath } from "../kube/resource-path.ts";
import {
  afterStep,
  bundleOf,
  type Generation,
  type Generations,
  nextStep,
  pemBlocks,
  type RenewalPolicy,
  readGeneration,
  readSecretData,
  type Step,
  secretData,
} from "./generations.ts";
import { type IssuedPair, issuePair } from "./issue.ts";

export type KeeperReport =
  /** The Secret has other certificates now. */
  | { readonly kind: "stepped"; readonly step: Exclude<Step, "keep">; readonly notAfterMs: number }
  /** New connections see this one from now on. */
  | { readonly kind: "shown"; readonly notAfterMs: number }
  /** The API server was told whom to trust. */
  | { readonly kind: "injected"; readonly configuration: string }
  /** Something keeps the certificates from being looked after. Told when it begins, and when it is another. */
  | { readonly kind: "trouble"; readonly error: Error }
  | { readonly kind: "recovered" };

export type KeeperOptions = RenewalPolicy & {
  readonly client: Pick<KubeClient, "request">;
  /** Where the Secret is, shared by all replicas. */
  readonly secret: { readonly namespace: string; readonly name: string };
  /** Host names and addresses by which the API server knows the webhook. */
  readonly names: readonly string[];
  /** Name of the ValidatingWebhookConfiguration whose webhooks are ours; undefined: somebody else sees to it. */
  readonly configuration: string | undefined;
  readonly isLeading: () => boolean;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly clock: Pick<Clock, "random" | "sleep">;
  /** How often to look. */
  readonly intervalMs: number;
  /** The certificate to show from now on. */
  readonly onCertificate: (pair: IssuedPair) => void;
  readonly onReport: (report: KeeperReport) => void;
};

const SHORTEST_WAIT_MS = 1_000;

type RawSecret = { readonly raw: Readonly<Record<string, unknown>>; readonly generations: Generations | undefined };

/**
 * Keeps the webhook's certificates: every replica shows what stands in a Secret, makes one if there is none, and the leader
 * renews it and tells the API server whom to trust.
 */
export class CertificateKeeper {
  readonly #options: KeeperOptions;
  /** Since when, in the eyes of this leader. */
  readonly #trustedSince = new Map<string, number>();
  #current: { readonly chainPem: string; readonly sinceMs: number } | undefined;
  #last: { readonly contents: string; readonly generations: Generations | undefined } | undefined;
  #trouble: string | undefined;
  #failures = 0;
  #running: Promise<void> | undefined;
  readonly #stopped = new AbortController();
  #awoken = new AbortController();

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Looks at once: a new leader may have much to do. */
  wake(): void {
    this.#awoken.abort();
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    this.wake();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, intervalMs } = this.#options;
    const { signal } = this.#stopped;
    while (!signal.aborted) {
      const step = await this.#look();
      const waitMs = step === "keep" ? intervalMs : Math.min(intervalMs, SHORTEST_WAIT_MS * 2 ** this.#failures);
      // Replicas are not to ask all at the same time.
      await clock.sleep(waitMs * (0.75 + clock.random() / 2), this.#awoken.signal).catch((error: unknown) => {
        if (!this.#awoken.signal.aborted) throw error;
      });
      this.#awoken = new AbortController();
    }
  }

  /** Never rejects. */
  async #look(): Promise<Step | "failed"> {
    try {
      const step = await this.#step();
      this.#failures = 0;
      if (this.#trouble !== undefined) this.#options.onReport({ kind: "recovered" });
      this.#trouble = undefined;
      return step;
    } catch (error) {
      if (this.#stopped.signal.aborted) return "failed";
      this.#failures = Math.min(this.#failures + 1, 10);
      const known = error instanceof Error ? error : new Error(String(error));
      if (this.#trouble !== known.message) this.#options.onReport({ kind: "trouble", error: known });
      this.#trouble = known.message;
      return "failed";
    }
  }

  async #step(): Promise<Step> {
    const found = (await this.#read()) ?? (await this.#create());
    // Another replica was faster, and its Secret is there the next time.
    if (found === undefined) return "replace";
    const { generations } = found;
    if (generations !== undefined) this.#use(generations);
    if (!this.#options.isLeading()) {
      this.#trustedSince.clear();
      return "keep";
    }
    if (generations !== undefined) await this.#inject(generations.authorities);
    const { now, names, lifetimeMs, renewBeforeMs, overlapMs } = this.#options;
    const nowMs = now();
    const step = nextStep(generations, {
      ...{ lifetimeMs, renewBeforeMs, overlapMs, nowMs, names },
      trustedForMs: (authority) => nowMs - (this.#trustedSince.get(authority) ?? Number.POSITIVE_INFINITY),
      currentForMs: nowMs - (this.#current?.sinceMs ?? nowMs),
    });
    if (step !== "keep") await this.#write(step, found);
    return step;
  }

  #use(generations: Generations): void {
    const { chainPem, key, notAfterMs } = generations.current;
    if (this.#current?.chainPem === chainPem) return;
    this.#current = { chainPem, sinceMs: this.#options.now() };
    this.#options.onCertificate({ chainPem, key });
    this.#options.onReport({ kind: "shown", notAfterMs });
  }

  async #read(): Promise<RawSecret | undefined> {
    try {
      return this.#remember(await this.#request({ method: "GET", path: this.#secretPath() }));
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return undefined;
      throw error;
    }
  }

  /** Undefined if another replica has made one meanwhile. */
  async #create(): Promise<RawSecret | undefined> {
    const { namespace, name } = this.#options.secret;
    const generations = afterStep("replace", undefined, await this.#issue(), this.#options.now());
    const body = {
      apiVersion: "v1",
      kind: "Secret",
      metadata: { namespace, name, labels: { "app.kubernetes.io/name": "isoline" } },
      // Not kubernetes.io/tls: it is no certificate for anybody's host.
      type: "Opaque",
      data: secretData(generations),
    };
    const path = resourcePath({ apiVersion: "v1", plural: "secrets", namespace });
    try {
      const made = this.#remember(await this.#request({ method: "POST", path, body }));
      this.#options.onReport({ kind: "stepped", step: "replace", notAfterMs: generations.current.notAfterMs });
      return made;
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) return undefined;
      throw error;
    }
  }

  async #write(step: Exclude<Step, "keep">, { raw, generations }: RawSecret): Promise<void> {
    const needsNew = step === "replace" || step === "prepare";
    const issued = needsNew ? await this.#issue() : (generations?.next ?? generations?.current);
    if (issued === undefined) throw new Error("there is no generation to go on with");
    const written = afterStep(step, generations, issued, this.#options.now());
    try {
      // With the resource version that was read: of two leaders, one learns that it is none.
      const body = { ...raw, data: secretData(written) };
      await this.#request({ method: "PUT", path: this.#secretPath(), body });
    } catch (error) {
      if (error instanceof ApiError && error.status === 409) return;
      throw error;
    }
    this.#use(written);
    this.#options.onReport({ kind: "stepped", step, notAfterMs: written.current.notAfterMs });
  }

  /** Tells the API server whom to trust, if it does not know yet, and notes since when it does. */
  async #inject(authorities: readonly string[]): Promise<void> {
    const { configuration, now, onReport } = this.#options;
    const trusted = configuration === undefined ? authorities : await this.#trusted(configuration, authorities);
    for (const authority of authorities) {
      if (!trusted.includes(authority)) this.#trustedSince.delete(authority);
      else if (!this.#trustedSince.has(authority)) this.#trustedSince.set(authority, now());
    }
    for (const known of this.#trustedSince.keys()) {
      if (!authorities.includes(known)) this.#trustedSince.delete(known);
    }
    if (trusted !== authorities && configuration !== undefined) onReport({ kind: "injected", configuration });
  }

  /** Those that the API server has trusted before; the same list if nothing had to be changed. */
  async #trusted(configuration: string, authorities: readonly string[]): Promise<readonly string[]> {
    const path = resourcePath({
      apiVersion: "admissionregistration.k8s.io/v1",
      plural: "validatingwebhookconfigurations",
      name: configuration,
    });
    const webhooks = webhooksOf(await this.#request({ method: "GET", path }));
    const bundle = bundleOf(authorities);
    const stale = webhooks.filter(({ caBundle }) => caBundle !== bundle);
    if (stale.length === 0) return authorities;
    const caBundle = Buffer.from(bundle).toString("base64");
    await this.#request({
      method: "PATCH",
      path,
      // By name: what others have written into the same webhook stays.
      contentType: "application/strategic-merge-patch+json",
      body: { webhooks: stale.map(({ name }) => ({ name, clientConfig: { caBundle } })) },
    });
    const before = stale.map((webhook) => pemBlocks(webhook.caBundle));
    return authorities.filter((authority) => before.every((blocks) => blocks.includes(authority)));
  }

  async #issue(): Promise<Generation> {
    const { names, now, lifetimeMs } = this.#options;
    const { chainPem, key } = await issuePair({ names, nowMs: now(), lifetimeMs });
    const generation = readGeneration(chainPem, key.reveal());
    if (generation === undefined) throw new Error("a certificate that was just issued cannot be read");
    return generation;
  }

  /** Reads a Secret; one with the same contents as the last is not read again. */
  #remember(raw: unknown): RawSecret {
    const fields = { ...Object(raw) };
    const contents = JSON.stringify(fields.data);
    if (this.#last?.contents !== contents) this.#last = { contents, generations: readSecretData(fields.data) };
    return { raw: fields, generations: this.#last.generations };
  }

  #secretPath(): string {
    return resourcePath({ apiVersion: "v1", plural: "secrets", ...this.#options.secret });
  }

  #request(request: Parameters<KubeClient["request"]>[0]): Promise<unknown> {
    return this.#options.client.request({ ...request, signal: this.#stopped.signal });
  }
}

function webhooksOf(configuration: unknown): readonly { readonly name: string; readonly caBundle: string }[] {
  const { webhooks } = Object(configuration);
  if (!Array.isArray(webhooks)) return [];
  return webhooks.map((webhook) => {
    const { name, clientConfig } = Object(webhook);
    const { caBundle } = Object(clientConfig);
    return { name: String(name), caBundle: Buffer.from(String(caBundle ?? ""), "base64").toString("utf8") };
  });
}
