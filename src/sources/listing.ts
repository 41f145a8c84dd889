import type { BigIntStats, Dirent } from "node:fs";
import { readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { byCodeUnit } from "../api/order.ts";

/** Parsing takes up to a hundred times the memory of the text, and about half a second for a MiB, in which nothing else goes on. */
const MAX_FILE_BYTES = 8 * 1024 * 1024;

/** The look of a file without its contents: as long as the signature stays, so do the contents. */
export type ListedFile =
  | { readonly kind: "readable"; readonly signature: string; readonly bytes: number }
  | { readonly kind: "unreadable"; readonly signature: string; readonly why: string };

export type Listing = {
  /** By path, in order of path by code unit. */
  readonly files: ReadonlyMap<string, ListedFile>;
  /** Paths asked for, and folders below them, that could not be read: what is in them is not known. */
  readonly unknown: ReadonlyMap<string, string>;
  /**
   * Folders where a change can change this listing, by path. `identity` tells a folder from one put in its place, and
   * `names` are the entries that matter; all of them if undefined.
   */
  readonly watch: ReadonlyMap<string, { readonly identity: string; readonly names: ReadonlySet<string> | undefined }>;
};

type Mutable = {
  readonly files: Map<string, ListedFile>;
  readonly unknown: Map<string, string>;
  readonly watch: Map<string, { readonly identity: string; readonly names: Set<string> | undefined }>;
  /** Files by absolute path and folders by identity: what was asked for twice, or links into itself, is listed once. */
  readonly seen: Set<string>;
};

/** The manifests at these paths: files whatever their names, and below folders every `*.yaml`, `*.yml` and `*.json`. */
export async function listManifests(paths: readonly string[]): Promise<Listing> {
  const listing: Mutable = { files: new Map(), unknown: new Map(), watch: new Map(), seen: new Set() };
  for (const path of [...paths].sort(byCodeUnit)) {
    await watchEntry(listing, resolve(path));
    await watchTarget(listing, path);
    const stats = await statOf(path);
    if (stats instanceof Error) listing.unknown.set(path, reasonOf(stats));
    else if (stats.isDirectory()) await listFolder(listing, path, stats);
    else addFile(listing, path, stats);
  }
  return { ...listing, files: new Map([...listing.files].sort(([a], [b]) => byCodeUnit(a, b))) };
}

async function listFolder(listing: Mutable, folder: string, stats: BigIntStats): Promise<void> {
  const identity = `${stats.dev}:${stats.ino}`;
  // Folders are visited in a fixed order, so that it is always the same path of several that counts.
  if (listing.seen.has(identity)) return;
  listing.seen.add(identity);
  listing.watch.set(resolve(folder), { identity, names: undefined });
  let entries: Dirent[];
  try {
    entries = await readdir(folder, { withFileTypes: true });
  } catch (error) {
    listing.unknown.set(folder, reasonOf(error));
    return;
  }
  const visible = entries.filter(({ name }) => !name.startsWith(".")).sort((a, b) => byCodeUnit(a.name, b.name));
  const relevant = visible.filter(
    (entry) => isManifestName(entry.name) || entry.isDirectory() || entry.isSymbolicLink(),
  );
  const looked = await Promise.all(
    relevant.map(async (entry) => {
      const path = join(folder, entry.name);
      if (entry.isSymbolicLink()) await watchTarget(listing, path);
      return { entry, path, stats: await statOf(path) };
    }),
  );
  for (const { entry, path, stats } of looked) {
    if (stats instanceof Error) {
      // A file that is gone by now will not be listed the next time; a link that leads nowhere will.
      if (codeOf(stats) === "ENOENT" && !entry.isSymbolicLink()) continue;
      if (entry.isDirectory()) listing.unknown.set(path, reasonOf(stats));
      else if (isManifestName(entry.name)) {
        const why = reasonOf(stats);
        listing.files.set(path, { kind: "unreadable", signature: why, why });
      }
    } else if (stats.isDirectory()) {
      await listFolder(listing, path, stats);
    } else if (isManifestName(entry.name)) {
      addFile(listing, path, stats);
    }
  }
}

function addFile(listing: Mutable, path: string, stats: BigIntStats): void {
  const absolute = resolve(path);
  if (listing.seen.has(absolute)) return;
  listing.seen.add(absolute);
  listing.files.set(path, listedFile(stats));
}

function listedFile(stats: BigIntStats): ListedFile {
  const signature = signatureOf(stats);
  // Opening a pipe would wait for ever, and a device may have no end.
  if (!stats.isFile()) return { kind: "unreadable", signature, why: "is neither a regular file nor a folder" };
  if (stats.size > MAX_FILE_BYTES) {
    return { kind: "unreadable", signature, why: `is larger than ${MAX_FILE_BYTES / 1024 / 1024} MiB: split it` };
  }
  return { kind: "readable", signature, bytes: Number(stats.size) };
}

/** The time of the last change is the only one that a program cannot set at will, and the file can be another one. */
export function signatureOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return [dev, ino, size, mtimeNs, ctimeNs].join(":");
}

/** Watches the folder that `path` is an entry of. */
async function watchEntry(listing: Mutable, path: string): Promise<void> {
  const folder = dirname(path);
  const stats = await statOf(folder);
  if (stats instanceof Error) return; // nothing to watch: what comes there is found at a later look
  const known = listing.watch.get(folder);
  if (known !== undefined) known.names?.add(basename(path));
  else listing.watch.set(folder, { identity: `${stats.dev}:${stats.ino}`, names: new Set([basename(path)]) });
}

/** Where a symbolic link leads, changes do not touch the folder that the link is in. */
async function watchTarget(listing: Mutable, path: string): Promise<void> {
  try {
    const target = await realpath(path);
    if (target !== resolve(path)) await watchEntry(listing, target);
  } catch (error) {
    if (codeOf(error) === undefined) throw error; // else it leads nowhere, which `stat` will tell
  }
}

function isManifestName(name: string): boolean {
  return /\.(yaml|yml|json)$/.test(name);
}

async function statOf(path: string): Promise<BigIntStats | Error> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    if (codeOf(error) === undefined || !(error instanceof Error)) throw error;
    return error;
  }
}

/** Why the system refused, in words that follow the name of a file. */
export function reasonOf(error: unknown): string {
  const code = codeOf(error);
  switch (code) {
    case undefined:
      throw error;
    case "ENOENT":
      return "does not exist";
    case "ENOTDIR":
      return "does not exist: part of its path is a file";
    case "EACCES":
    case "EPERM":
      return "cannot be read: permission denied";
    case "ELOOP":
      return "is a symbolic link that leads to itself";
    case "ENAMETOOLONG":
      return "cannot be read: its path is too long";
    default:
      return `cannot be read: ${code}`;
  }
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}
