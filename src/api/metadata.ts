import type { ObjectReader } from "./decode.ts";

/** What every kind of object keeps of its metadata. */
export type Metadata = {
  readonly namespace: string;
  readonly name: string;
  /** Milliseconds since 1970 of `creationTimestamp`; undefined counts as older than everything. */
  readonly createdMs: number | undefined;
  readonly generation: number | undefined;
  readonly uid: string | undefined;
};

/** Fields of `metadata` in the Kubernetes API. */
export const FIELDS_OF_METADATA: readonly string[] = [
  "annotations",
  "clusterName",
  "creationTimestamp",
  "deletionGracePeriodSeconds",
  "deletionTimestamp",
  "finalizers",
  "generateName",
  "generation",
  "labels",
  "managedFields",
  "name",
  "namespace",
  "ownerReferences",
  "resourceVersion",
  "selfLink",
  "uid",
];

/** Fields of a spec that people put under metadata by a slip of indentation. */
const MISPLACED = ["routes", "virtualhost", "tcpproxy", "spec"];

/** `metadata` without the labels and annotations: those are for the decoder of a kind that reads some of them. */
export function decodeMetadata(object: ObjectReader): {
  readonly metadata: Metadata;
  readonly reader: ObjectReader | undefined;
} {
  const reader = object.object("metadata");
  const created = reader?.string("creationTimestamp");
  const createdMs = created === undefined ? undefined : parseTime(created);
  if (createdMs !== undefined && Number.isNaN(createdMs)) {
    reader?.fault("creationTimestamp", "must be a time such as 2018-07-05T19:26:54Z");
  }
  const metadata: Metadata = {
    namespace: reader?.string("namespace") ?? "",
    name: reader?.string("name") ?? "",
    // An unreadable time must not win a host by counting as oldest.
    createdMs: Number.isNaN(createdMs) ? Number.POSITIVE_INFINITY : createdMs,
    generation: reader?.integer("generation"),
    uid: reader?.string("uid"),
  };
  for (const key of MISPLACED) {
    if (reader?.has(key))
      reader.warn(key, `does nothing under metadata; did you mean ${key === "spec" ? "" : "spec."}${key}?`);
  }
  return { metadata, reader };
}

/** Milliseconds since 1970, or NaN. Other forms that `Date.parse` takes depend on the time zone of the machine. */
function parseTime(text: string): number {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(text) ? Date.parse(text) : Number.NaN;
}

/** The annotations with the given names that are there and not empty. */
export function decodeAnnotations<Name extends string>(
  metadata: ObjectReader | undefined,
  names: readonly Name[],
): Readonly<Partial<Record<Name, string>>> {
  const annotations = metadata?.object("annotations");
  const found: Partial<Record<Name, string>> = {};
  for (const name of names) {
    const value = annotations?.string(name);
    if (value !== undefined && value !== "") found[name] = value;
  }
  return found;
}
