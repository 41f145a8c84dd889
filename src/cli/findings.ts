import type { FieldNote } from "../api/decode.ts";
import type { ApiObject, ObjectChange } from "../api/kinds.ts";
import { type ObjectKey, shortName } from "../api/object-key.ts";
import { byCodeUnit } from "../api/order.ts";
import { printable } from "../api/printable.ts";
import { classOf, describe, type Problem, withheld } from "../compile/problems.ts";
import { expiryWarning } from "../compile/tls.ts";
import { byPlace } from "../sources/merge.ts";
import type { ReadObjects } from "../sources/read-paths.ts";
import { type Place, placeText } from "../sources/source.ts";
import type { Translation } from "../translate/translator.ts";

/** One line for the people who wrote the files. */
export type Finding = {
  readonly place: Place;
  /** Warnings are about what is served as it is written, notes about what is left out on purpose. */
  readonly severity: "error" | "warning" | "note";
  readonly text: string;
  readonly object?: ObjectKey;
  readonly field?: string;
  /** A code of docs/problems.md. */
  readonly code?: string;
};

type Statements = Pick<Translation, "verdicts" | "ingresses">;

/** Everything that is to be said of what was read, in order of place. */
export function findingsOf(
  read: ReadObjects,
  translation: Statements & Pick<Translation, "hosts">,
  nowMs: number,
): readonly Finding[] {
  const ofObjects = read.objects.flatMap((change) =>
    change.kind === "applied" ? shortened(findingsOfObject(read, change, translation)) : [],
  );
  return [...read.problems, ...expiryFindings(read, translation.hosts, nowMs), ...ofObjects].sort(
    (a, b) => byPlace(a, b) || byCodeUnit(a.text, b.text),
  );
}

/** Nobody reads more of one object at a time, and the others are to be found among them. */
const MAX_TOLD = 100;

function shortened(findings: readonly Finding[]): readonly Finding[] {
  const [first] = findings;
  if (first === undefined || findings.length <= MAX_TOLD) return findings;
  // Errors first: what makes the difference is among those that are told.
  const isError = ({ severity }: Finding) => severity === "error";
  const sorted = [...findings.filter(isError), ...findings.filter((finding) => !isError(finding))];
  const severity = sorted[MAX_TOLD]?.severity ?? "note";
  const { place, object } = sorted[MAX_TOLD - 1] ?? first;
  const text = `and ${findings.length - MAX_TOLD} more problems of this object`;
  return [...sorted.slice(0, MAX_TOLD), { place, severity, text, ...(object && { object }) }];
}

function expiryFindings(read: ReadObjects, hosts: Translation["hosts"], nowMs: number): readonly Finding[] {
  return hosts.flatMap(({ tls }): Finding[] => {
    const text = tls && expiryWarning(tls.certificate, nowMs);
    if (tls === undefined || text === undefined) return [];
    const { object, at } = tls.certificate.origin;
    const place = read.locate(object as ObjectKey, at, "value");
    return place === undefined ? [] : [{ place, severity: "warning", text, object: object as ObjectKey, field: at }];
  });
}

/** `file:line:column: text`, on one line whatever names and paths hold. */
export function findingLine({ place, severity, text }: Finding): string {
  const line = `${placeText(place)}: ${severity === "error" ? "" : `${severity}: `}${text}`;
  return printable(line);
}

function findingsOfObject(
  read: ReadObjects,
  { key, object }: Extract<ObjectChange, { kind: "applied" }>,
  { verdicts, ingresses }: Statements,
): readonly Finding[] {
  const at = (field: string): Place => {
    const place = read.locate(key, field, isUnknownField(object, field) ? "key" : "value");
    if (place === undefined) throw new Error(`${key} was read from no file`);
    return place;
  };
  const foreign = (ingressClass: string | undefined): Finding => {
    const text = `${shortName(key)} is of ingress class ${JSON.stringify(ingressClass)}: not served`;
    return { place: at(""), severity: "note", text, object: key };
  };
  const findingsFor = (problems: readonly Problem[]) =>
    problems.map((problem) => problemFinding(key, problem, at(problem.at)));
  if (object.kind === "Ingress") {
    const { annotation, name } = object.ingressClass;
    const problems = ingresses.get(key);
    return problems === undefined ? [foreign(annotation?.value ?? name)] : findingsFor(problems);
  }
  if (object.kind !== "IngressRoute") {
    const { faults, warnings } = object.notes;
    return [
      ...faults.map((note): Finding => ({ ...noteFinding(key, note), place: at(note.at), severity: "error" })),
      ...warnings.map((note): Finding => ({ ...noteFinding(key, note), place: at(note.at), severity: "warning" })),
    ];
  }
  const verdict = verdicts.get(key);
  if (verdict === undefined) return [foreign(object.ingressClass)];
  const findings = findingsFor(verdict.problems);
  if (verdict.currentStatus !== "orphaned") return findings;
  return [{ place: at(""), severity: "warning", text: verdict.description, object: key }, ...findings];
}

function problemFinding(object: ObjectKey, problem: Problem, place: Place): Finding {
  const severity = classOf(problem) === "C" ? "warning" : "error";
  // Whoever can read the files can read the Secret.
  const text = [describe(problem), withheld(problem)].filter((part) => part !== undefined).join(": ");
  return { place, severity, text, object, field: problem.at, code: problem.code };
}

function noteFinding(object: ObjectKey, { at, reason }: FieldNote): Omit<Finding, "place" | "severity"> {
  return { text: at === "" ? reason : `${at}: ${reason}`, object, field: at };
}

function isUnknownField({ notes }: ApiObject, field: string): boolean {
  return [...notes.faults, ...notes.warnings].some(({ at, unknown }) => at === field && unknown === true);
}
