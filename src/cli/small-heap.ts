import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { SourceListener } from "../sources/source.ts";

/** By so many percent the heap may grow between two collections. V8 itself would let it grow to four times its size. */
const GROWTH = { start: 40, later: 15 };
/** After everything has been read, Envoys take some seconds to be sent it all. */
const START_MS = 4_000;

/**
 * Keeps the memory of a process small that does most of its work at its start: nearly all that it allocates then is garbage
 * soon, for which V8 would make room and would keep that for as long as little happens. So the heap grows by small steps, and
 * when the start is over, what is left of it is collected once, and from then on V8 prefers little memory to few collections.
 *
 * All of these flags are only read when a collection is planned, so that they can be set while the process runs.
 */
export function withSmallHeap(listener: SourceListener): SourceListener {
  setFlagsFromString(`--heap-growing-percent=${GROWTH.start}`);
  return {
    ...listener,
    synced: () => {
      listener.synced();
      setTimeout(settle, START_MS).unref();
    },
  };
}

/** At 10,000 roots it takes some tenths of a second. */
function settle(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH.later}`);
  // Space that a collection frees is given back.
  setFlagsFromString("--optimize-for-size");
  setFlagsFromString("--expose-gc");
  // Only contexts that are made after the flag was set have it.
  const collect: unknown = runInNewContext("gc");
  if (typeof collect === "function") collect();
}
