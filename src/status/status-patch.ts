import { isRecord } from "../api/is-record.ts";
import { KINDS } from "../api/kinds.ts";
import type { ObjectKey } from "../api/object-key.ts";
import type { KubeClient } from "../kube/client.ts";
import { resourcePath } from "../kube/resource-path.ts";
import { readStatus, type SeenObject } from "./seen-object.ts";

const TIMEOUT_MS = 10_000;

/** Gives the object that was seen this status, and returns what the API server has made of it. */
export async function patchStatus(
  client: Pick<KubeClient, "request">,
  key: ObjectKey,
  seen: SeenObject,
  status: unknown,
  signal: AbortSignal,
): Promise<SeenObject> {
  const { uid, resourceVersion } = seen;
  const answer = await client.request({
    method: "PATCH",
    path: statusPath(key),
    contentType: "application/merge-patch+json",
    // Refused if the object has changed since, or is another: the watch will tell, and then it may have to be something
    // else. The version alone says so for our own kinds: their status takes any uid.
    body: { metadata: { uid, resourceVersion }, status },
    timeoutMs: TIMEOUT_MS,
    signal,
  });
  return readAnswer(key, answer) ?? { ...seen, found: readStatus(key, status) };
}

/** Undefined for an answer that is no object. */
function readAnswer(key: ObjectKey, answer: unknown): SeenObject | undefined {
  if (!isRecord(answer) || !isRecord(answer.metadata)) return undefined;
  const { uid, resourceVersion } = answer.metadata;
  if (typeof uid !== "string" || typeof resourceVersion !== "string") return undefined;
  return { uid, resourceVersion, found: readStatus(key, answer.status) };
}

function statusPath(key: ObjectKey): string {
  const [kind = "", namespace = "", name = ""] = key.split("/");
  const known = KINDS.find((each) => each.kind === kind);
  if (known === undefined) throw new Error(`${key} has no status of ours`);
  const { apiVersions, plural } = known;
  return resourcePath({ apiVersion: apiVersions[0] ?? "", plural, namespace, name, subresource: "status" });
}
