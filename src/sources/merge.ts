import type { ObjectKey } from "../api/object-key.ts";
import { byCodeUnit } from "../api/order.ts";
import type { Manifest, Manifests } from "./manifests.ts";
import { type FileProblem, type Place, placeText } from "./source.ts";

/** What several files hold together. */
export type Merged = {
  readonly objects: ReadonlyMap<ObjectKey, Manifest>;
  /** In order of place. */
  readonly problems: readonly FileProblem[];
};

/**
 * An object that is defined several times is what the first definition says, by file name and then by place, however the
 * files came; all places are told.
 */
export function mergeFiles(files: ReadonlyMap<string, Manifests>): Merged {
  const definitions = new Map<ObjectKey, [Manifest, ...Manifest[]]>();
  const problems: FileProblem[] = [];
  for (const [, manifests] of [...files].sort(([a], [b]) => byCodeUnit(a, b))) {
    for (const problem of manifests.problems) problems.push(problem);
    for (const manifest of manifests.documents) {
      const known = definitions.get(manifest.key);
      if (known === undefined) definitions.set(manifest.key, [manifest]);
      else known.push(manifest);
    }
  }
  const objects = new Map<ObjectKey, Manifest>();
  for (const [key, [first, ...others]] of definitions) {
    objects.set(key, first);
    const places = others.map(({ locate }) => locate(""));
    if (places.length === 0) continue;
    for (const problem of definedAgain(key, first.locate(""), places)) problems.push(problem);
  }
  return { objects, problems: problems.sort(byPlace) };
}

export function byPlace(a: { readonly place: Place }, b: { readonly place: Place }): number {
  return byCodeUnit(a.place.file, b.place.file) || a.place.line - b.place.line || a.place.column - b.place.column;
}

function definedAgain(key: ObjectKey, first: Place, others: readonly Place[]): FileProblem[] {
  const elsewhere = others.map(placeText).join(", ");
  return [
    { place: first, severity: "error", text: `${key} is defined again at ${elsewhere}: this one is used` },
    ...others.map((place): FileProblem => {
      return {
        place,
        severity: "error",
        text: `${key} is defined before, at ${placeText(first)}: this one is ignored`,
      };
    }),
  ];
}
