import { relative } from "node:path";
import type { ObjectChange } from "../api/kinds.ts";
import type { ObjectKey } from "../api/object-key.ts";
import { sameValue } from "../api/same-value.ts";
import { readManifestFile } from "./file-contents.ts";
import { FolderWatches } from "./folder-watches.ts";
import { type ListedFile, type Listing, listManifests } from "./listing.ts";
import { type Manifests, unreadable } from "./manifests.ts";
import { type Merged, mergeFiles } from "./merge.ts";
import type { FieldPart, Place, Source, SourceListener, SourceProblem } from "./source.ts";

/** Time between two looks while something changes. */
const LOOK_MS = 30;
/** A timer may fire a little early. */
const STABLE_MS = LOOK_MS - 5;
/** Something that keeps changing does not hold up everything else for longer. */
const MAX_WAIT_MS = 10 * LOOK_MS;
/** `command > file.yaml` empties the file first and fills it when the command is done. */
const EMPTIED_MS = 2000;
/** Looks without a hint, for what cannot be watched: network file systems, or a folder whose parent does not exist. */
const IDLE_LOOK_MS = 1000;
/** Idle looks take at most this share of the time. */
const IDLE_SHARE = 1 / 20;

/** What is known of one path. `signature` is undefined while no file is there. */
type FileState = {
  readonly signature: string | undefined;
  /** When the signature was first seen. */
  readonly sinceMs: number;
  /** The signature of what `manifests` was read from; undefined if that has to be read again. */
  readonly readSignature: string | undefined;
  readonly manifests: Manifests;
};

const NOTHING: Manifests = { documents: [], problems: [], whole: true };

/**
 * The manifests in files and folders, followed as they change.
 *
 * Files are read again when two looks have found them alike, and all that has changed is told together. What cannot be
 * read any more (a syntax error, no permission, the whole folder gone) keeps its last good version in service.
 */
export class FileSource implements Source {
  readonly #paths: readonly string[];
  readonly #listener: SourceListener;
  readonly #watches: FolderWatches;
  readonly #files = new Map<string, FileState>();
  #merged: Merged = { objects: new Map(), problems: [] };
  #problems: readonly SourceProblem[] = [];
  #synced = false;
  /** When the oldest change that is not told yet was seen. */
  #unsettledSinceMs: number | undefined;
  #hinted = false;
  #stopped = false;
  #wake: () => void = () => {};
  #running: Promise<void> = Promise.resolve();

  constructor(paths: readonly string[], listener: SourceListener) {
    this.#paths = paths;
    this.#listener = listener;
    this.#watches = new FolderWatches(() => {
      this.#hinted = true;
      this.#wake();
    });
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#wake();
    await this.#running;
  }

  locate(key: ObjectKey, fieldPath: string, part?: FieldPart): Place | undefined {
    return this.#merged.objects.get(key)?.locate(fieldPath, part);
  }

  async #run(): Promise<void> {
    try {
      while (!this.#stopped) {
        this.#hinted = false;
        const startMs = performance.now();
        const settled = await this.#look();
        if (!settled || this.#hinted) await this.#sleep(LOOK_MS, () => this.#stopped);
        else {
          const idleMs = Math.max(IDLE_LOOK_MS, (performance.now() - startMs) / IDLE_SHARE);
          await this.#sleep(idleMs, () => this.#stopped || this.#hinted);
        }
      }
    } finally {
      this.#watches.close();
    }
  }

  /** Returns whether everything that was found has been told. */
  async #look(): Promise<boolean> {
    const listing = await listManifests(this.#paths);
    const watchesAreNew = this.#watches.set(listing.watch);
    const nowMs = performance.now();
    const unsettled = this.#note(listing, nowMs);
    if (watchesAreNew || unsettled) {
      this.#unsettledSinceMs ??= nowMs;
      if (nowMs - this.#unsettledSinceMs < MAX_WAIT_MS) return false;
    }
    this.#unsettledSinceMs = undefined;
    const torn = await this.#readChanged(listing, nowMs);
    if (!this.#stopped) this.#tell(listing);
    return !unsettled && !watchesAreNew && !torn;
  }

  /** Takes down what each file looks like now. Returns whether one does not look like it did some time ago. */
  #note(listing: Listing, nowMs: number): boolean {
    for (const path of new Set([...this.#files.keys(), ...listing.files.keys()])) {
      const known = this.#files.get(path);
      const signature = listing.files.get(path)?.signature;
      if (signature === undefined && isBelow(path, listing.unknown)) continue;
      if (known !== undefined && known.signature === signature) continue;
      const { readSignature, manifests } = known ?? { readSignature: undefined, manifests: NOTHING };
      this.#files.set(path, { signature, sinceMs: nowMs, readSignature, manifests });
    }
    return [...this.#files].some(([path, state]) => !isSettled(state, listing.files.get(path), nowMs));
  }

  /** Returns whether a file changed while it was read. */
  async #readChanged(listing: Listing, nowMs: number): Promise<boolean> {
    let torn = false;
    for (const [path, state] of this.#files) {
      const listed = listing.files.get(path);
      if (isRead(state) || !isSettled(state, listed, nowMs)) continue;
      if (listed === undefined) {
        if (!isBelow(path, listing.unknown)) this.#files.delete(path);
        continue;
      }
      const file = await readManifestFile(path, listed);
      if (file.kind === "torn" || (file.kind === "read" && file.signature !== state.signature)) {
        torn = true;
        continue;
      }
      // What could not be read is tried again: that can end without the file looking any different.
      const readSignature = file.kind === "read" ? file.signature : undefined;
      this.#files.set(path, { ...state, readSignature, manifests: keepingLastGood(state.manifests, file.manifests) });
    }
    return torn;
  }

  #tell(listing: Listing): void {
    const files = new Map([...this.#files].map(([path, { manifests }]) => [path, manifests]));
    const kept = this.#synced ? KEPT : "";
    for (const [path, why] of listing.unknown) files.set(path, unreadable(path, `this path ${why}${kept}`));
    const merged = mergeFiles(files);
    const changes = changesBetween(this.#merged, merged);
    this.#merged = merged;
    if (changes.length > 0) this.#listener.changed(changes);
    if (!sameValue(this.#problems, merged.problems)) {
      this.#problems = merged.problems;
      this.#listener.problems(merged.problems);
    }
    // Until a folder that was asked for has been there once, what it holds is unknown, not nothing.
    if (!this.#synced && !this.#paths.some((path) => listing.unknown.has(path))) {
      this.#synced = true;
      this.#listener.synced();
    }
  }

  async #sleep(ms: number, over: () => boolean): Promise<void> {
    if (over()) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        if (!over()) return;
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = () => {};
  }
}

const KEPT = "; what was read from it last stays in service";

/** Whether what stands in the file has been read. */
function isRead({ signature, readSignature }: FileState): boolean {
  return signature !== undefined && signature === readSignature;
}

/** Whether the file, or its absence, has looked the same for long enough to be meant. */
function isSettled(state: FileState, listed: ListedFile | undefined, nowMs: number): boolean {
  if (isRead(state)) return true;
  const emptied = listed?.kind === "readable" && listed.bytes === 0 && state.manifests.documents.length > 0;
  return nowMs - state.sinceMs >= (emptied ? EMPTIED_MS : STABLE_MS);
}

function keepingLastGood(last: Manifests, next: Manifests): Manifests {
  if (next.whole || last.documents.length === 0) return next;
  const [first, ...others] = next.problems;
  const problems = first === undefined ? [] : [{ ...first, text: `${first.text}${KEPT}` }, ...others];
  return { documents: last.documents, problems, whole: false };
}

function isBelow(path: string, folders: ReadonlyMap<string, unknown>): boolean {
  return [...folders.keys()].some((folder) => !/^\.\.(\/|$)/.test(relative(folder, path)));
}

function changesBetween(before: Merged, after: Merged): ObjectChange[] {
  const changes: ObjectChange[] = [];
  for (const [key, { object }] of after.objects) {
    if (!sameValue(before.objects.get(key)?.object, object)) changes.push({ kind: "applied", key, object });
  }
  for (const key of before.objects.keys()) {
    if (!after.objects.has(key)) changes.push({ kind: "deleted", key });
  }
  return changes;
}
