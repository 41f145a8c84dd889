import type { ObjectChange } from "../api/kinds.ts";
import type { ObjectKey } from "../api/object-key.ts";
import { readManifestBytes, readManifestFile } from "./file-contents.ts";
import { listManifests } from "./listing.ts";
import { type Manifests, unreadable } from "./manifests.ts";
import { mergeFiles } from "./merge.ts";
import type { FieldPart, FileProblem, Place } from "./source.ts";

/** What files, folders and standard input hold at one moment. */
export type ReadObjects = {
  readonly objects: readonly ObjectChange[];
  readonly problems: readonly FileProblem[];
  readonly locate: (key: ObjectKey, fieldPath: string, part?: FieldPart) => Place | undefined;
  readonly fileCount: number;
  /** Those of the paths that could not be read at all. */
  readonly missing: readonly { readonly path: string; readonly why: string }[];
};

const STDIN_NAME = "(stdin)";

/** Reads manifests once. */
export async function readPaths(paths: readonly string[], stdin: Uint8Array | undefined): Promise<ReadObjects> {
  const listing = await listManifests(paths);
  const files = new Map<string, Manifests>();
  for (const [path, listed] of listing.files) {
    const file = await readManifestFile(path, listed);
    const manifests = file.kind === "torn" ? unreadable(path, "the file changes while it is read") : file.manifests;
    files.set(path, manifests);
  }
  if (stdin !== undefined) files.set(STDIN_NAME, readManifestBytes(STDIN_NAME, stdin));
  const missing = [...listing.unknown].map(([path, why]) => ({ path, why }));
  for (const { path, why } of missing)
    if (!paths.includes(path)) files.set(path, unreadable(path, `the folder ${why}`));
  const merged = mergeFiles(files);
  return {
    objects: [...merged.objects.values()].map(({ key, object }) => ({ kind: "applied", key, object })),
    problems: merged.problems,
    locate: (key, fieldPath, part) => merged.objects.get(key)?.locate(fieldPath, part),
    missing: missing.filter(({ path }) => paths.includes(path)),
    fileCount: listing.files.size + (stdin === undefined ? 0 : 1),
  };
}
