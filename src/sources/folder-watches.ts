import { type FSWatcher, watch } from "node:fs";
import type { Listing } from "./listing.ts";

/**
 * Watches folders for changes of their entries. What an event says is not looked at, it is only a hint to look again:
 * a watch is bound to the folder it was opened on, so after a swap (kubelet mounts, `mv`) events and any state kept from
 * them tell of files that nobody sees any more. Watching libraries keep such state; a new look at the files has none.
 */
export class FolderWatches {
  readonly #watchers = new Map<string, { readonly watcher: FSWatcher; names: ReadonlySet<string> | undefined }>();
  readonly #hint: () => void;

  constructor(hint: () => void) {
    this.#hint = hint;
  }

  /** Watches these folders and no others. Returns whether a watch is new: what happened before it was opened is unknown. */
  set(wanted: Listing["watch"]): boolean {
    const identities = new Map(
      [...wanted].map(([path, folder]) => [`${folder.identity} ${path}`, { path, ...folder }]),
    );
    for (const identity of this.#watchers.keys()) {
      if (!identities.has(identity)) this.#close(identity);
    }
    let opened = false;
    for (const [identity, { path, names }] of identities) {
      const known = this.#watchers.get(identity);
      if (known !== undefined) known.names = names;
      else if (this.#open(identity, path, names)) opened = true;
    }
    return opened;
  }

  close(): void {
    for (const identity of this.#watchers.keys()) this.#close(identity);
  }

  #open(identity: string, path: string, names: ReadonlySet<string> | undefined): boolean {
    let watcher: FSWatcher;
    try {
      watcher = watch(path);
    } catch (error) {
      // The folder is gone again, or the system has no more watches to give: the regular looks have to do.
      if (!(error instanceof Error) || !("code" in error)) throw error;
      return false;
    }
    this.#watchers.set(identity, { watcher, names });
    watcher.on("change", (_event, name) => {
      const matters = this.#watchers.get(identity)?.names;
      if (matters === undefined || typeof name !== "string" || matters.has(name)) this.#hint();
    });
    watcher.on("error", () => {
      // It will be opened again if the folder is still there.
      this.#close(identity);
      this.#hint();
    });
    return true;
  }

  #close(identity: string): void {
    this.#watchers.get(identity)?.watcher.close();
    this.#watchers.delete(identity);
  }
}
