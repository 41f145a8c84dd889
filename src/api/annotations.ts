import type { ObjectReader } from "./decode.ts";

/** An annotation as it was written, not yet read. */
export type Annotation = { readonly key: string; readonly value: string };

/** Both spellings of our annotations; the later one of the two projects' names wins. */
export const PREFIXES: readonly string[] = ["projectcontour.io", "contour.heptio.com"];

/** The annotations of these names, without their prefix, that are there and not empty. */
export function decodeOwnAnnotations<Name extends string>(
  metadata: ObjectReader | undefined,
  names: readonly Name[],
): Readonly<Partial<Record<Name, Annotation>>> {
  const annotations = metadata?.object("annotations");
  const found: Partial<Record<Name, Annotation>> = {};
  for (const name of names) {
    for (const prefix of PREFIXES) {
      const key = `${prefix}/${name}`;
      const value = annotations?.string(key);
      if (value === undefined || value === "") continue;
      const winner = found[name];
      if (winner === undefined) found[name] = { key, value };
      else if (winner.value !== value) annotations?.warn(key, `does nothing beside ${winner.key}`);
    }
  }
  return found;
}
