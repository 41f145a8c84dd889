import type { ObjectChange } from "../api/kinds.ts";
import type { ObjectKey } from "../api/object-key.ts";

/** A place in a file. Lines and columns count from 1; what concerns a whole file or folder stands at 1:1. */
export type Place = { readonly file: string; readonly line: number; readonly column: number };

/** Something to tell about what a source reads that belongs to no object. */
export type SourceProblem = {
  readonly place: Place;
  /** A `note` tells what is left out on purpose; only an `error` calls for mending. */
  readonly severity: "error" | "note";
  readonly text: string;
};

export type SourceListener = {
  /** Changes that were seen together and should take effect together. Never empty. */
  readonly changed: (batch: readonly ObjectChange[]) => void;
  /** Once, after everything that was there at the start has been told. */
  readonly synced: () => void;
  /** All problems that stand now, in order of place; they replace those told before. */
  readonly problems: (problems: readonly SourceProblem[]) => void;
};

/** Which end of a field to point at: its value, or its key when the key itself is what is wrong. */
export type FieldPart = "key" | "value";

/** Where objects come from. It retries for ever and never throws at its listener's expense. */
export interface Source {
  start(): void;
  /** Resolves when nothing will be told any more and nothing is held open. */
  stop(): Promise<void>;
  /**
   * Where the field of an object is written, or its nearest ancestor that is; undefined for an object that is not known
   * or not written in a file.
   */
  locate(key: ObjectKey, fieldPath: string, part?: FieldPart): Place | undefined;
}
