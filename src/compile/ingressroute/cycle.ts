import type { ObjectKey } from "../../api/object-key.ts";

/** How many steps of a cycle are told: its two ends, if it is longer. */
const MAX_STEPS = 16;

/** The way from `target` along the chain to the object that leads back to it. */
export function cycleThrough(
  target: ObjectKey,
  closing: ObjectKey,
  chain: ReadonlySet<ObjectKey>,
): { readonly path: readonly ObjectKey[]; readonly omitted: number } {
  if (target === closing) return { path: [closing, target], omitted: 0 };
  const ancestors = [...chain];
  const steps = [...ancestors.slice(ancestors.indexOf(target)), closing, target];
  const omitted = Math.max(0, steps.length - MAX_STEPS);
  if (omitted === 0) return { path: steps, omitted };
  return { path: [...steps.slice(0, MAX_STEPS / 2), ...steps.slice(-MAX_STEPS / 2)], omitted };
}
