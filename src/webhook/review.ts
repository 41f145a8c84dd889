import { type ApiObject, KINDS } from "../api/kinds.ts";
import { objectKey } from "../api/object-key.ts";
import { type AloneOptions, problemsAlone } from "../compile/alone.ts";
import { classOf, describe, type Problem } from "../compile/problems.ts";
import { boundedRegexes } from "./bounds.ts";

export type ReviewOptions = {
  readonly compile: AloneOptions;
  /** Nothing is refused: what would have been is a warning. */
  readonly isWarnOnly: boolean;
};

/** The answer to one AdmissionReview. */
export type Verdict = {
  /** An AdmissionReview of admission.k8s.io/v1, to be sent as JSON. */
  readonly answer: unknown;
  /** Of the object; `other` for kinds that are not read. */
  readonly kind: string;
  readonly isAllowed: boolean;
  readonly warnings: number;
};

const API_VERSION = "admission.k8s.io/v1";

/** Kinds of which a mistake is refused. Ingresses are other people's API, with a schema of their own. */
const REFUSED: ReadonlySet<string> = new Set(["IngressRoute", "TLSCertificateDelegation"]);

/** An object may have thousands of problems, and somebody reads them in a terminal. */
const MAX_TOLD = 10;
/** The API server cuts longer warnings. */
const MAX_WARNING = 256;

/** What to say of an object that somebody wants to write; undefined if this is no AdmissionReview. */
export function review(body: unknown, options: ReviewOptions): Verdict | undefined {
  const { apiVersion, kind, request } = fieldsOf(body);
  const { uid, operation, subResource, object, oldObject, ...about } = fieldsOf(request);
  if (apiVersion !== API_VERSION || kind !== "AdmissionReview" || typeof uid !== "string") return undefined;
  const subject = subjectOf(about);
  const isWrite = operation === "CREATE" || operation === "UPDATE";
  // A status is the controller's word, and an object that is going away only loses its finalizers.
  if (!isWrite || subResource || isGoing(object)) return verdict(uid, subject, [], []);

  const regexes = boundedRegexes(options.compile.readRegex);
  const compile = { ...options.compile, readRegex: regexes.read };
  const problems = problemsOf(subject, object, compile);
  const mayRefuse = REFUSED.has(subject.kind) && !options.isWarnOnly;
  const before = operation === "UPDATE" && mayRefuse ? problemsOf(subject, oldObject, compile) : [];
  const added = new Set(mayRefuse ? newMistakes(problems, before) : []);
  const rest = problems.filter((problem) => !added.has(problem));
  return verdict(uid, subject, [...added], rest, unreadText(regexes.unread()));
}

function unreadText(regexes: number): readonly string[] {
  if (regexes === 0) return [];
  return [
    `Isoline has not looked at ${regexes} of the regular expressions: they are too many for that before it is written`,
  ];
}

/** The answer for an object that is too large to be looked at; whoever wrote it has its status. */
export function allowedUnseen(uid: string): Verdict {
  const warnings = ["Isoline has not looked at this object: it is too large for that before it is written"];
  const answer = { apiVersion: API_VERSION, kind: "AdmissionReview", response: { uid, allowed: true, warnings } };
  return { answer, kind: "other", isAllowed: true, warnings: 1 };
}

type Subject = {
  readonly kind: string;
  readonly apiVersion: string;
  readonly namespace: string;
  readonly name: string;
};

function subjectOf({ kind: gvk, namespace, name }: Readonly<Record<string, unknown>>): Subject {
  const { group, version, kind } = fieldsOf(gvk);
  const apiVersion = group ? `${group}/${version}` : `${version}`;
  return { kind: textOf(kind), apiVersion, namespace: textOf(namespace), name: textOf(name) };
}

function problemsOf(subject: Subject, raw: unknown, options: AloneOptions): readonly Problem[] {
  const { kind, namespace, name } = subject;
  const object = decode(subject, raw);
  return object === undefined ? [] : problemsAlone(objectKey(kind, namespace, name), object, options);
}

/** Undefined for kinds that are not read. */
function decode({ kind, apiVersion, namespace }: Subject, raw: unknown): ApiObject | undefined {
  const known = KINDS.find((candidate) => candidate.kind === kind && candidate.apiVersions.includes(apiVersion));
  const { metadata, ...rest } = fieldsOf(raw);
  return known?.decode({ ...rest, metadata: { ...fieldsOf(metadata), namespace } });
}

/**
 * Mistakes that the object did not have before: an update that makes nothing worse has to go through, also when it is a
 * tool's, that knows nothing of routes. Told apart by their words, which name routes and services rather than places.
 */
function newMistakes(problems: readonly Problem[], before: readonly Problem[]): readonly Problem[] {
  const known = new Map<string, number>();
  for (const problem of before) known.set(describe(problem), (known.get(describe(problem)) ?? 0) + 1);
  const mistakes = problems.filter((problem) => classOf(problem) === "A");
  if (known.size === 0) return mistakes;
  return mistakes.filter((problem) => {
    const words = describe(problem);
    const left = known.get(words) ?? 0;
    known.set(words, left - 1);
    return left <= 0;
  });
}

function isGoing(object: unknown): boolean {
  return Boolean(fieldsOf(fieldsOf(object).metadata).deletionTimestamp);
}

function verdict(
  uid: string,
  { kind }: Subject,
  refusals: readonly Problem[],
  told: readonly Problem[],
  more: readonly string[] = [],
): Verdict {
  const isAllowed = refusals.length === 0;
  const warnings = [...inWords(told), ...more].map((text) => cut(text, MAX_WARNING));
  const status = isAllowed ? {} : { status: { code: 422, reason: "Invalid", message: inWords(refusals).join("; ") } };
  const response = { uid, allowed: isAllowed, ...status, ...(warnings.length === 0 ? {} : { warnings }) };
  const answer = { apiVersion: API_VERSION, kind: "AdmissionReview", response };
  const isRead = KINDS.some((known) => known.kind === kind);
  return { answer, kind: isRead ? kind : "other", isAllowed, warnings: warnings.length };
}

function inWords(problems: readonly Problem[]): readonly string[] {
  const told = problems.slice(0, MAX_TOLD).map(describe);
  const more = problems.length - told.length;
  return more === 0 ? told : [...told, `and ${more} more`];
}

function cut(text: string, length: number): string {
  const characters = [...text];
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join("")}…`;
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** The fields of what may be an object. */
function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? Object.fromEntries(Object.entries(value))
    : {};
}
