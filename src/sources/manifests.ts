import { isRecord } from "../api/is-record.ts";
import { type ApiObject, KINDS, type Kind } from "../api/kinds.ts";
import { isName, isNamespace } from "../api/names.ts";
import { type ObjectKey, objectKey } from "../api/object-key.ts";
import { join } from "./field-path.ts";
import type { FieldPart, FileProblem, Place } from "./source.ts";
import { type LineColumn, readYaml } from "./yaml-documents.ts";

/** One object that a file holds. */
export type Manifest = {
  readonly key: ObjectKey;
  readonly object: ApiObject;
  /** Where the field at this path is written, or its nearest ancestor that is. */
  readonly locate: (fieldPath: string, part?: FieldPart) => Place;
};

/** What stands in a file. */
export type Manifests = {
  readonly documents: readonly Manifest[];
  readonly problems: readonly FileProblem[];
  /** False when something could not be read at all: then what is missing here may still be meant to exist. */
  readonly whole: boolean;
};

/** A raw object and where its fields stand. */
type RawObject = {
  readonly value: Readonly<Record<string, unknown>>;
  readonly locate: (fieldPath: string, part?: FieldPart) => Place;
};

/** Other people's kinds that are easily taken for ours, and what to tell about them. */
const LOOK_ALIKES: readonly { readonly is: (apiVersion: string, kind: string) => boolean; readonly text: string }[] = [
  {
    is: (apiVersion, kind) => kind === "IngressRoute" && /^traefik\.(io|containo\.us)\//.test(apiVersion),
    text: "this is Traefik's IngressRoute, another API of the same name: not read",
  },
  {
    is: (apiVersion, kind) => kind === "HTTPProxy" && apiVersion.startsWith("projectcontour.io/"),
    text: "HTTPProxy is not read; Isoline implements the IngressRoute API",
  },
  {
    is: (apiVersion, kind) => kind === "Endpoints" && apiVersion === "v1",
    text: "Endpoints are not read; write an EndpointSlice",
  },
];

/**
 * The objects of the kinds we read in a YAML or JSON text. Other kinds are left out in silence, as the same files often
 * hold a whole application; what looks as if it were meant for us is told.
 */
export function readManifests(file: string, text: string): Manifests {
  const documents: Manifest[] = [];
  const errors: FileProblem[] = [];
  const notes = new Map<string, { readonly place: Place; readonly text: string; count: number }>();
  let whole = true;
  for (const yaml of readYaml(text)) {
    if (yaml.kind === "mistake") {
      whole = false;
      errors.push({ place: { file, ...yaml.at }, severity: "error", text: yaml.text });
      continue;
    }
    const locate = (path: string, part: FieldPart = "value") => placeIn(file, yaml.locate(path, part));
    for (const raw of objectsOf(yaml.value, locate)) {
      const found = readObject(raw);
      switch (found?.kind) {
        case "manifest":
          documents.push(found.manifest);
          break;
        case "error":
          errors.push({ place: found.place, severity: "error", text: found.text });
          break;
        case "note": {
          const told = notes.get(found.text);
          if (told === undefined) notes.set(found.text, { place: found.place, text: found.text, count: 1 });
          else told.count += 1;
        }
      }
    }
  }
  return { documents, problems: [...errors, ...[...notes.values()].map(noteOf)].sort(byPlace), whole };
}

/** A file that could not be read at all. */
export function unreadable(file: string, text: string): Manifests {
  return { documents: [], problems: [{ place: { file, line: 1, column: 1 }, severity: "error", text }], whole: false };
}

/** The text of a file, or why it has none. */
export function decodeText(
  bytes: Uint8Array,
): { readonly ok: true; readonly text: string } | { readonly ok: false; readonly why: string } {
  if ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff)) {
    return { ok: false, why: "is UTF-16 text; save it as UTF-8" };
  }
  if (bytes.includes(0)) return { ok: false, why: "is a binary file, not YAML or JSON" };
  try {
    return { ok: true, text: new TextDecoder("utf-8", { fatal: true }).decode(bytes) };
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return { ok: false, why: "is not valid UTF-8 text" };
  }
}

type Found =
  | { readonly kind: "manifest"; readonly manifest: Manifest }
  | { readonly kind: "error" | "note"; readonly place: Place; readonly text: string };

function* objectsOf(value: unknown, locate: RawObject["locate"], at = ""): Generator<RawObject> {
  // Lists of values, patches and the like may lie beside manifests.
  if (!isRecord(value)) return;
  const itemKind = KINDS.find(
    ({ kind, apiVersions }) => value.kind === `${kind}List` && apiVersions.some((v) => v === value.apiVersion),
  );
  const isList = (value.kind === "List" && value.apiVersion === "v1") || itemKind !== undefined;
  if (!isList) {
    yield { value, locate: (path, part) => locate(join(at, path), part) };
    return;
  }
  if (!Array.isArray(value.items)) return;
  // In a list of one kind, as the API server itself gives it, the items do not repeat it.
  const defaults = itemKind && { apiVersion: value.apiVersion, kind: itemKind.kind };
  for (const [i, item] of value.items.entries()) {
    yield* objectsOf(defaults && isRecord(item) ? { ...defaults, ...item } : item, locate, join(at, `items[${i}]`));
  }
}

function readObject(raw: RawObject): Found | undefined {
  const { apiVersion, kind: kindName } = raw.value;
  if (typeof kindName !== "string") {
    const ours = KINDS.filter((kind) => kind.apiVersions.some((version) => version === apiVersion && version !== "v1"));
    if (ours.length === 0) return undefined;
    return errorAt(raw, "kind", `kind must be given for ${apiVersion}: ${ours.map(({ kind }) => kind).join(" or ")}`);
  }
  const kind = KINDS.find((known) => known.kind === kindName);
  if (typeof apiVersion !== "string") {
    if (kind === undefined) return undefined;
    return errorAt(raw, "apiVersion", `apiVersion must be given for ${kindName}: ${kind.apiVersions.join(" or ")}`);
  }
  const lookAlike = LOOK_ALIKES.find(({ is }) => is(apiVersion, kindName));
  if (lookAlike !== undefined) return { kind: "note", place: raw.locate(""), text: lookAlike.text };
  if (kind?.apiVersions.includes(apiVersion)) return decodeManifest(kind, raw);
  if (kind !== undefined) {
    const text = `${kindName} of ${apiVersion} is not read, only that of ${kind.apiVersions.join(" and ")}`;
    return { kind: "note", place: raw.locate(""), text };
  }
  const meant = KINDS.find(
    (known) =>
      known.apiVersions.includes(apiVersion) && known.kind.toLowerCase() === kindName.toLowerCase().replace(/s$/, ""),
  );
  return meant && errorAt(raw, "kind", `there is no kind ${shown(kindName)}: did you mean ${meant.kind}?`);
}

/** An object without a usable name is none: an API server would refuse it, and nothing could refer to it. */
function decodeManifest(kind: Kind, raw: RawObject): Found {
  const metadata = isRecord(raw.value.metadata) ? raw.value.metadata : {};
  const name = metadata.name ?? undefined;
  const namespace = metadata.namespace ?? "";
  if (name === undefined) return errorAt(raw, "metadata.name", `${kind.kind} without metadata.name`);
  if (typeof name !== "string")
    return errorAt(raw, "metadata.name", "metadata.name must be a string: put it in quotes");
  if (!isName(name)) {
    const text = `metadata.name ${shown(name)} is no name for Kubernetes, which takes lower-case letters, digits, "-" and "."`;
    return errorAt(raw, "metadata.name", text);
  }
  if (typeof namespace !== "string") {
    return errorAt(raw, "metadata.namespace", "metadata.namespace must be a string: put it in quotes");
  }
  if (namespace !== "" && !isNamespace(namespace)) {
    const text = `metadata.namespace ${shown(namespace)} is no namespace for Kubernetes, which takes lower-case letters, digits and "-"`;
    return errorAt(raw, "metadata.namespace", text);
  }
  const named = {
    ...raw.value,
    metadata: { ...metadata, namespace: kind.isClusterScoped ? "" : namespace || "default" },
  };
  const key = objectKey(kind.kind, named.metadata.namespace, name);
  return { kind: "manifest", manifest: { key, object: kind.decode(named), locate: raw.locate } };
}

function errorAt(raw: RawObject, path: string, text: string): Found {
  return { kind: "error", place: raw.locate(path), text };
}

function noteOf({ place, text, count }: { place: Place; text: string; count: number }): FileProblem {
  return { place, severity: "note", text: count === 1 ? text : `${text} (${count} of them in this file)` };
}

function byPlace(a: FileProblem, b: FileProblem): number {
  return a.place.line - b.place.line || a.place.column - b.place.column;
}

function placeIn(file: string, { line, column }: LineColumn): Place {
  return { file, line, column };
}

function shown(name: string): string {
  return JSON.stringify(name.length > 80 ? `${name.slice(0, 80)}…` : name);
}
