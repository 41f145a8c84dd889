/**
 * A map from small whole numbers that is never changed: with an entry more it is a new one, which shares all but a few parts
 * with the old. A Patricia trie of the bits, lowest first, so that no choice of keys makes it deeper than they have bits.
 */
export type IdMap<T> = Leaf<T> | Fork<T> | undefined;

type Leaf<T> = { readonly id: number; readonly value: T };

/** All ids below it end in the bits `ending`; `bit` is the next one, and says on which side they are. */
type Fork<T> = {
  readonly ending: number;
  readonly bit: number;
  readonly zero: Leaf<T> | Fork<T>;
  readonly one: Leaf<T> | Fork<T>;
};

export function findIn<T>(map: IdMap<T>, id: number): T | undefined {
  let part = map;
  while (part !== undefined && "bit" in part) part = (id & part.bit) === 0 ? part.zero : part.one;
  return part?.id === id ? part.value : undefined;
}

export function withEntry<T>(map: IdMap<T>, id: number, value: T): Leaf<T> | Fork<T> {
  const leaf = { id, value };
  if (map === undefined) return leaf;
  if (!("bit" in map)) return map.id === id ? leaf : fork(map.id, map, id, leaf);
  if ((id & (map.bit - 1)) !== map.ending) return fork(map.ending, map, id, leaf);
  return (id & map.bit) === 0
    ? { ...map, zero: withEntry(map.zero, id, value) }
    : { ...map, one: withEntry(map.one, id, value) };
}

/** The values, without those of parts that are in `seen`, to which all parts are added. */
export function* entriesOf<T>(map: IdMap<T>, seen: Set<object>): Generator<T> {
  const rest = map === undefined ? [] : [map];
  for (let part = rest.pop(); part !== undefined; part = rest.pop()) {
    if (seen.has(part)) continue;
    seen.add(part);
    if ("bit" in part) rest.push(part.zero, part.one);
    else yield part.value;
  }
}

function fork<T>(a: number, left: Leaf<T> | Fork<T>, b: number, right: Leaf<T> | Fork<T>): Fork<T> {
  const bit = (a ^ b) & -(a ^ b);
  const ending = a & (bit - 1);
  return (a & bit) === 0 ? { ending, bit, zero: left, one: right } : { ending, bit, zero: right, one: left };
}
