import type { Metadata } from "../api/metadata.ts";
import type { ObjectKey } from "../api/object-key.ts";
import { byCodeUnit } from "../api/order.ts";

type Aged = { readonly key: ObjectKey; readonly object: { readonly metadata: Metadata } };

/** An object without a timestamp counts as oldest. */
export function oldestFirst(a: Aged, b: Aged): number {
  const left = a.object.metadata.createdMs ?? Number.NEGATIVE_INFINITY;
  const right = b.object.metadata.createdMs ?? Number.NEGATIVE_INFINITY;
  if (left !== right) return left < right ? -1 : 1;
  return byCodeUnit(a.key, b.key);
}
