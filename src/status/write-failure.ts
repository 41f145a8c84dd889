import { ApiError } from "../kube/errors.ts";

/** What a write that failed says of the next one. */
export type WriteFailure =
  /** The object has changed, or is gone. */
  | { readonly kind: "outdated"; readonly error: ApiError }
  /** Such a status is not taken, and the same again would be refused again. */
  | { readonly kind: "refused"; readonly error: ApiError }
  /** The same may do later. `concernsAll`: it says something of the API server, and not only of one object. */
  | { readonly kind: "passing"; readonly retryAfterMs: number; readonly concernsAll: boolean };

export function failureOf(error: unknown): WriteFailure {
  if (!(error instanceof ApiError)) return { kind: "passing", retryAfterMs: 0, concernsAll: true };
  const { status, retryAfterMs = 0 } = error;
  if ([404, 409, 410].includes(status)) return { kind: "outdated", error };
  if (isRefusal(error)) return { kind: "refused", error };
  return { kind: "passing", retryAfterMs, concernsAll: [401, 429].includes(status) || status >= 500 };
}

/** With its status, an object may grow beyond what etcd holds, which the API server tells as if it were an error of its own. */
function isRefusal({ status, message }: ApiError): boolean {
  return [400, 413, 422].includes(status) || (status === 500 && message.includes("too large"));
}
