import { ConnectionError, fields } from "./errors.ts";

/** What of a Lease decides who leads, and the rest of it as it came. */
export type LeaseRecord = {
  readonly uid: string;
  readonly resourceVersion: string;
  /** Empty when nobody holds it. */
  readonly holder: string;
  /** What its holder wants others to wait; 0 when it does not say. */
  readonly durationMs: number;
  readonly transitions: number;
  /** Its holder has nothing to lead for. */
  readonly isIdle: boolean;
  /** Who asked for it therefore; empty if nobody has. */
  readonly wantedBy: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly spec: Readonly<Record<string, unknown>>;
};

const IDLE = "isoline/idle";
const WANTED_BY = "isoline/wanted-by";

/** Throws a `ConnectionError` for what is no Lease: the answer of something that stands before the API server. */
export function decodeLease(raw: unknown): LeaseRecord {
  const { metadata, spec } = fields(raw);
  const { uid, resourceVersion, annotations } = fields(metadata);
  const { holderIdentity = "", leaseDurationSeconds, leaseTransitions } = fields(spec);
  if (!isFilled(uid) || !isFilled(resourceVersion) || typeof holderIdentity !== "string") {
    throw new ConnectionError("garbled", "the answer is no Lease");
  }
  return {
    uid,
    resourceVersion,
    holder: holderIdentity,
    durationMs: count(leaseDurationSeconds) * 1000,
    transitions: count(leaseTransitions),
    isIdle: fields(annotations)[IDLE] === "true",
    wantedBy: textOf(fields(annotations)[WANTED_BY]),
    metadata: fields(metadata),
    spec: fields(spec),
  };
}

export type Holding = {
  readonly identity: string;
  readonly durationMs: number;
  /** Milliseconds since 1970, for people to read: nobody of us decides by it. */
  readonly nowMs: number;
  readonly isIdle: boolean;
};

/** A Lease that there was not before. */
export function newLease(namespace: string, name: string, holding: Holding): unknown {
  return lease(
    annotated({ namespace, name }, holding.isIdle, ""),
    {},
    { ...held(holding), acquireTime: microTime(holding.nowMs), leaseTransitions: 0 },
  );
}

/** The same Lease, held. The API server takes it only if nothing about it has changed since it was read. */
export function heldLease({ metadata, spec, holder, transitions }: LeaseRecord, holding: Holding): unknown {
  const isNew = holder !== holding.identity;
  return lease(annotated(metadata, holding.isIdle, ""), spec, {
    ...held(holding),
    ...(isNew ? { acquireTime: microTime(holding.nowMs), leaseTransitions: transitions + 1 } : {}),
  });
}

/** The same Lease, held by nobody. */
export function releasedLease({ metadata, spec }: LeaseRecord, nowMs: number): unknown {
  return lease(metadata, spec, { holderIdentity: "", renewTime: microTime(nowMs) });
}

/** The same Lease, asked for. */
export function wantedLease({ metadata, spec, isIdle }: LeaseRecord, wantedBy: string): unknown {
  return lease(annotated(metadata, isIdle, wantedBy), spec, {});
}

function annotated(
  metadata: LeaseRecord["metadata"],
  isIdle: boolean,
  wantedBy: string,
): Readonly<Record<string, unknown>> {
  const { [IDLE]: _, [WANTED_BY]: __, ...others } = fields(metadata.annotations);
  const annotations = { ...others, ...(isIdle && { [IDLE]: "true" }), ...(wantedBy && { [WANTED_BY]: wantedBy }) };
  return { ...metadata, annotations };
}

function held({ identity, durationMs, nowMs }: Holding): Readonly<Record<string, unknown>> {
  return {
    holderIdentity: identity,
    leaseDurationSeconds: Math.ceil(durationMs / 1000),
    renewTime: microTime(nowMs),
  };
}

/** What others have written into it, such as labels, stays. */
function lease(
  { managedFields, ...metadata }: LeaseRecord["metadata"],
  spec: LeaseRecord["spec"],
  changed: LeaseRecord["spec"],
): unknown {
  return { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata, spec: { ...spec, ...changed } };
}

/** The API server wants exactly six digits behind the point. */
function microTime(ms: number): string {
  return new Date(ms).toISOString().replace("Z", "000Z");
}

function isFilled(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function count(value: unknown): number {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : 0;
}
