import type { ObjectKey } from "../api/object-key.ts";
import { sameValue } from "../api/same-value.ts";
import { tellProblems } from "../compile/conditions.ts";
import type { Problem } from "../compile/problems.ts";
import { type DroppedEvent, EVENT_DEFAULTS, EventWriter } from "./events.ts";
import { readAddresses } from "./ingress-status.ts";
import type { Address, IngressRouteWish } from "./wish.ts";
import {
  type Seen,
  StatusWriter,
  type StatusWriterOptions,
  type Waiting,
  WRITER_DEFAULTS,
  type WriteReport,
} from "./writer.ts";

/** Who is told what is to be said of objects. */
export interface StatusSink {
  /** Undefined: the object is gone or of another class, and its status is left as it is. */
  ingressRoute(key: ObjectKey, wish: IngressRouteWish | undefined): void;
  /** What is the matter with an Ingress; undefined as above. */
  ingress(key: ObjectKey, problems: readonly Problem[] | undefined): void;
}

/** Where the clients of Ingresses find them. */
export type LoadBalancer =
  | { readonly kind: "none" }
  | { readonly kind: "addresses"; readonly addresses: readonly Address[] }
  /** Those in the status of a Service. */
  | { readonly kind: "service"; readonly namespace: string; readonly name: string };

export type StatusReporterOptions = Pick<StatusWriterOptions, "client" | "isLeading" | "clock" | "random"> & {
  readonly loadBalancer: LoadBalancer;
  /** Which replica this is, for Events. */
  readonly instance: string;
  readonly onWrite: (report: WriteReport) => void;
  readonly onEvent: (report: EventReport) => void;
};

export type EventReport = { readonly kind: "made" } | ({ readonly kind: "dropped" } & DroppedEvent);

/** `posted` is the text of the last Event. */
type ToldIngress = { readonly text: string; readonly reason: string; posted: string | undefined };

/** Tells objects in the API server what is to be said of them: by their status, and by Events. */
export class StatusReporter implements StatusSink {
  readonly #writer: StatusWriter;
  readonly #events: EventWriter;
  /** Ingresses of ours. */
  readonly #ingresses = new Map<ObjectKey, ToldIngress>();
  /** Of all Ingresses. */
  readonly #uids = new Map<ObjectKey, string>();
  #addresses: readonly Address[] | undefined;

  constructor({ loadBalancer, instance, onWrite, onEvent, ...shared }: StatusReporterOptions) {
    this.#addresses = loadBalancer.kind === "addresses" ? loadBalancer.addresses : undefined;
    this.#events = new EventWriter({
      ...EVENT_DEFAULTS,
      ...shared,
      instance,
      onMade: () => onEvent({ kind: "made" }),
      onDropped: (dropped) => onEvent({ kind: "dropped", ...dropped }),
    });
    this.#writer = new StatusWriter({
      ...WRITER_DEFAULTS,
      ...shared,
      onReport: (report) => {
        if (report.kind === "written") this.#postTurn(report);
        if (report.kind === "refused") this.#postRefusal(report);
        onWrite(report);
      },
    });
  }

  /** Statuses that wait to be written. */
  waiting(): Waiting {
    return this.#writer.waiting();
  }

  /** How many Events wait to be made. */
  get waitingEvents(): number {
    return this.#events.waiting;
  }

  ingressRoute(key: ObjectKey, wish: IngressRouteWish | undefined): void {
    this.#writer.wish(key, wish);
  }

  ingress(key: ObjectKey, problems: readonly Problem[] | undefined): void {
    const before = this.#ingresses.get(key);
    if (problems === undefined) this.#ingresses.delete(key);
    else {
      const text = tellProblems(problems) ?? "";
      this.#ingresses.set(key, { text, reason: problems[0]?.code ?? "", posted: before?.posted });
    }
    this.#wishAddresses(key);
    this.#postProblems(key);
  }

  /** What the API server holds of an object; undefined: it is gone. */
  observe(key: ObjectKey, seen: Seen | undefined): void {
    this.#writer.observe(key, seen);
    if (!key.startsWith("Ingress/") || this.#uids.get(key) === seen?.uid) return;
    if (seen === undefined) this.#uids.delete(key);
    else this.#uids.set(key, seen.uid);
    const told = this.#ingresses.get(key);
    if (told !== undefined) told.posted = undefined;
    this.#postProblems(key);
  }

  /** The status of the Service that leads to the Envoys; of one that is not there nothing is known, and nothing written. */
  observeLoadBalancer(service: { readonly status: unknown } | undefined): void {
    const addresses = service && readAddresses(service.status);
    if (sameValue(addresses, this.#addresses)) return;
    this.#addresses = addresses;
    for (const key of this.#ingresses.keys()) this.#wishAddresses(key);
  }

  leading(isLeading: boolean): void {
    this.#events.leading(isLeading);
    this.#writer.leading(isLeading);
    for (const [key, told] of this.#ingresses) {
      told.posted = undefined;
      this.#postProblems(key);
    }
  }

  async stop(): Promise<void> {
    await Promise.all([this.#writer.stop(), this.#events.stop()]);
  }

  #wishAddresses(key: ObjectKey): void {
    const addresses = this.#ingresses.has(key) ? this.#addresses : undefined;
    this.#writer.wish(key, addresses && { kind: "Ingress", addresses });
  }

  /** The status of an Ingress has no place for problems. The same ones are told once, whoever leads. */
  #postProblems(key: ObjectKey): void {
    const told = this.#ingresses.get(key);
    const uid = this.#uids.get(key);
    if (uid === undefined || told === undefined || told.text === "" || told.text === told.posted) return;
    const { text, reason } = told;
    if (this.#events.post({ object: key, uid, type: "Warning", reason, note: text, occasion: text }))
      told.posted = text;
  }

  /** By what was there before: what an earlier leader has told is not told again. */
  #postTurn({ key, uid, wish, before, resourceVersion }: Extract<WriteReport, { kind: "written" }>): void {
    if (wish.kind !== "IngressRoute" || wish.currentStatus === (before ?? "valid")) return;
    const { currentStatus, description } = wish;
    const [type, reason] = (
      { valid: ["Normal", "Valid"], invalid: ["Warning", "Invalid"], orphaned: ["Warning", "Orphaned"] } as const
    )[currentStatus];
    const occasion = `${currentStatus} ${resourceVersion}`;
    this.#events.post({ object: key, uid, type, reason, note: description, occasion });
  }

  /** Who has no status is told in this way, once for each that it would be. */
  #postRefusal({ key, uid, wish, error }: Extract<WriteReport, { kind: "refused" }>): void {
    const said = wish.kind === "IngressRoute" ? `${wish.currentStatus}: ${wish.description}` : "its addresses";
    const note = `the API server does not store the status of this object (${error.message}), which is: ${said}`;
    this.#events.post({
      object: key,
      uid,
      type: "Warning",
      reason: "StatusRefused",
      note,
      occasion: `refused ${said}`,
    });
  }
}
