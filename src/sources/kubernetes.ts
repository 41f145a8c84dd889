import { KINDS, type Kind, type ObjectChange } from "../api/kinds.ts";
import { type ObjectKey, objectKey } from "../api/object-key.ts";
import { byCodeUnit } from "../api/order.ts";
import type { KubeClient } from "../kube/client.ts";
import { type Clock, REAL_CLOCK } from "../kube/clock.ts";
import { ApiError, ConnectionError, fields } from "../kube/errors.ts";
import type { ReflectedChange } from "../kube/known-objects.ts";
import { Reflector, type ReflectorEvent } from "../kube/reflector.ts";
import { resourcePath } from "../kube/resource-path.ts";
import type { Place, Source, SourceListener, SourceProblem } from "./source.ts";

/** What the API server holds as the status of an object, for whoever writes it: no decoder looks at a status. */
export type SeenStatus = { readonly uid: string; readonly resourceVersion: string; readonly status: unknown };

export type StatusListener = {
  readonly wants: (key: ObjectKey) => boolean;
  /** Told at once, before the batch that the object is part of; undefined when the object is gone. */
  readonly seen: (key: ObjectKey, status: SeenStatus | undefined) => void;
};

export type KubernetesSourceOptions = {
  readonly client: Pick<KubeClient, "request" | "watch">;
  readonly statuses?: StatusListener;
  readonly observer?: (kind: string, event: ReflectorEvent) => void;
  readonly clock?: Clock;
  /** After how long a silence of a watch its connection counts as dead. */
  readonly idleMs?: number;
};

/** An API server that has just started forbids everything until it has read who may what. */
const WARM_MS = 10_000;

/**
 * The objects of a cluster, followed as they change. What arrives in one turn of the event loop is one batch; all that is
 * there at the start is one batch too, when every kind has been listed.
 */
export class KubernetesSource implements Source {
  readonly #listener: SourceListener;
  readonly #statuses: StatusListener | undefined;
  readonly #reflectors: readonly Reflector[];
  readonly #unsynced: Set<Kind> = new Set(KINDS);
  readonly #troubles = new Map<Kind, unknown>();
  /** Since when a kind that could be read before is forbidden. */
  readonly #forbidden = new Map<Kind, number>();
  readonly #nowMs: () => number;
  /** The last word on each object, until it is told. */
  #pending = new Map<ObjectKey, ObjectChange>();
  #flush: NodeJS.Immediate | undefined;
  #isSynced = false;

  constructor(options: KubernetesSourceOptions, listener: SourceListener) {
    this.#listener = listener;
    this.#statuses = options.statuses;
    this.#nowMs = (options.clock ?? REAL_CLOCK).nowMs;
    const { client, observer, clock, idleMs } = options;
    this.#reflectors = KINDS.map((kind) => {
      return new Reflector({
        client,
        path: resourcePath({ apiVersion: apiVersionOf(kind), plural: kind.plural }),
        ...(kind.fieldSelector === undefined ? {} : { query: { fieldSelector: kind.fieldSelector } }),
        ...(clock === undefined ? {} : { clock }),
        ...(idleMs === undefined ? {} : { idleMs }),
        ...(observer === undefined ? {} : { observer: (event) => observer(kind.kind, event) }),
        listener: {
          changed: (changes) => this.#changed(kind, changes),
          synced: () => {
            this.#unsynced.delete(kind);
            this.#schedule();
          },
          trouble: (error) => this.#trouble(kind, error),
        },
      });
    });
  }

  start(): void {
    for (const reflector of this.#reflectors) reflector.start();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#reflectors.map((reflector) => reflector.stop()));
    clearImmediate(this.#flush);
  }

  unread(): readonly string[] {
    return [...this.#unsynced].map(resourceName);
  }

  locate(): Place | undefined {
    return undefined;
  }

  #changed(kind: Kind, changes: readonly ReflectedChange[]): void {
    for (const change of changes) {
      const key = objectKey(kind.kind, change.namespace, change.name);
      if (this.#statuses?.wants(key)) this.#statuses.seen(key, statusOf(change));
      this.#pending.set(key, decoded(kind, key, change));
    }
    this.#schedule();
  }

  /** Nothing is told before everything is known: a route without its Service would only be compiled twice. */
  #schedule(): void {
    if (this.#unsynced.size > 0) return;
    this.#flush ??= setImmediate(() => {
      this.#flush = undefined;
      const batch = [...this.#pending.values()];
      this.#pending = new Map();
      if (batch.length > 0) this.#listener.changed(batch);
      if (this.#isSynced) return;
      this.#isSynced = true;
      this.#listener.synced();
    });
  }

  #trouble(kind: Kind, error: unknown): void {
    if (this.#isForbiddenForNow(kind, error)) return;
    if (error === undefined) this.#troubles.delete(kind);
    else this.#troubles.set(kind, error);
    const texts = new Set([...this.#troubles].map(([troubled, why]) => troubleText(troubled, why)));
    const kept = this.#isSynced ? "; what was read before stays in service" : "";
    this.#listener.problems(
      [...texts].sort(byCodeUnit).map((text): SourceProblem => {
        return { place: undefined, severity: "error", text: `${text}${kept}` };
      }),
    );
  }

  /** Whether it may be over in a moment; it is asked again with every try. */
  #isForbiddenForNow(kind: Kind, error: unknown): boolean {
    const isForbidden = error instanceof ApiError && error.status === 403 && !this.#unsynced.has(kind);
    if (!isForbidden) {
      this.#forbidden.delete(kind);
      return false;
    }
    const sinceMs = this.#forbidden.get(kind) ?? this.#nowMs();
    this.#forbidden.set(kind, sinceMs);
    return this.#nowMs() - sinceMs < WARM_MS;
  }
}

function decoded(kind: Kind, key: ObjectKey, change: ReflectedChange): ObjectChange {
  if (change.kind === "deleted") return { kind: "deleted", key };
  // Items of lists lack what the list says for all of them.
  const raw = { ...fields(change.raw), apiVersion: apiVersionOf(kind), kind: kind.kind };
  return { kind: "applied", key, object: kind.decode(raw) };
}

function statusOf(change: ReflectedChange): SeenStatus | undefined {
  if (change.kind === "deleted") return undefined;
  const { metadata, status } = fields(change.raw);
  const { uid, resourceVersion } = fields(metadata);
  return { uid: String(uid), resourceVersion: String(resourceVersion), status };
}

function apiVersionOf({ apiVersions: [first = ""] }: Kind): string {
  return first;
}

/** As kubectl takes it. */
function resourceName(kind: Kind): string {
  const [group = "", version] = apiVersionOf(kind).split("/");
  return version === undefined ? kind.plural : `${kind.plural}.${group}`;
}

/** What concerns the server as a whole names no kind, so that it is told once. */
function troubleText(kind: Kind, error: unknown): string {
  const resource = resourceName(kind);
  const words = error instanceof Error ? error.message : String(error);
  if (error instanceof ConnectionError) return `the API server cannot be reached: ${words}`;
  if (!(error instanceof ApiError)) return `a bug in Isoline: ${resource} cannot be read: ${words}`;
  switch (error.status) {
    case 401:
      return `the API server does not believe who this is: ${words}`;
    case 403:
      return `${resource} cannot be read: the role of this controller needs the verbs list and watch for them: ${words}`;
    case 404:
      return `${resource} cannot be read: the API server has no such kind; is its CustomResourceDefinition installed?`;
    default:
      return `${resource} cannot be read: ${words}`;
  }
}
