import type { ObjectChange } from "../api/kinds.ts";
import type { ObjectKey } from "../api/object-key.ts";

/** A place in a file. Lines and columns count from 1; what concerns a whole file or folder stands at 1:1. */
export type Place = { readonly file: string; readonly line: number; readonly column: number };

/** Something to tell about what a source reads that belongs to no object. */
export type SourceProblem = {
  /** Undefined for what is not read from files. */
  readonly place: Place | undefined;
  /** A `note` tells what is left out on purpose; only an `error` calls for mending. */
  readonly severity: "error" | "note";
  readonly text: string;
};

/** A problem of files always has a place. */
export type FileProblem = SourceProblem & { readonly place: Place };

export type SourceListener = {
  /** Changes that were seen together and should take effect together. Never empty. */
  readonly changed: (batch: readonly ObjectChange[]) => void;
  /** Once, after everything that was there at the start has been told. */
  readonly synced: () => void;
  /** All problems that stand now, in an order that only depends on them; they replace those told before. */
  readonly problems: (problems: readonly SourceProblem[]) => void;
};

/** On one line, with the place if there is one. */
export function problemText({ place, text }: Pick<SourceProblem, "place" | "text">): string {
  return place === undefined ? text : `${placeText(place)}: ${text}`;
}

export function placeText({ file, line, column }: Place): string {
  return `${file}:${line}:${column}`;
}

/** Which end of a field to point at: its value, or its key when the key itself is what is wrong. */
export type FieldPart = "key" | "value";

/** Where objects come from. It retries for ever and never throws at its listener's expense. */
export interface Source {
  start(): void;
  /** What has not been read yet, in words, of a source that reads in parts. */
  unread?(): readonly string[];
  /** Resolves when nothing will be told any more and nothing is held open. */
  stop(): Promise<void>;
  /**
   * Where the field of an object is written, or its nearest ancestor that is; undefined for an object that is not known
   * or not written in a file.
   */
  locate(key: ObjectKey, fieldPath: string, part?: FieldPart): Place | undefined;
}
