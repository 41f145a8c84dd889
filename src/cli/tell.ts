import { notesWithoutStatus, type ObjectChange } from "../api/kinds.ts";
import { type ObjectKey, shortName } from "../api/object-key.ts";
import { printable } from "../api/printable.ts";
import { classOf, describe, type Problem } from "../compile/problems.ts";
import { expiryWarning } from "../compile/tls.ts";
import { type Verdict, worstOf } from "../compile/verdicts.ts";
import type { RunningController } from "../controller/run.ts";
import { placeText, problemText, type SourceProblem } from "../sources/source.ts";
import type { Delta } from "../translate/translator.ts";
import { describeRoutes, type Ports, type Remark } from "./describe-routes.ts";

/** How many problems of one object fit on a screen beside the others. */
const MAX_TOLD = 20;

/** Tells a person, in lines, what a running controller serves and how that changes. */
export class Teller {
  readonly #write: (line: string) => void;
  readonly #ports: Ports;
  readonly #remark: Remark;
  readonly #now: () => number;
  #problems: ReadonlySet<string> = new Set();
  /** By host: what was last said of its certificate's end. */
  readonly #expiries = new Map<string, string>();

  constructor(options: {
    readonly write: (line: string) => void;
    readonly ports: Ports;
    readonly remark: Remark;
    readonly now: () => number;
  }) {
    this.#write = (line) => options.write(printable(line));
    this.#ports = options.ports;
    this.#remark = options.remark;
    this.#now = options.now;
  }

  /** All routes, and every object that is not valid. */
  everything(running: RunningController): void {
    const { translator } = running.controller;
    for (const { name } of translator.hosts()) this.#host(running, name);
    const verdicts = [...translator.verdicts().values()].sort((a, b) => (a.object < b.object ? -1 : 1));
    const valid = verdicts.filter(({ currentStatus }) => currentStatus === "valid");
    this.#write("");
    this.#write(`${valid.length} of ${verdicts.length} IngressRoutes are valid`);
    for (const verdict of verdicts) if (verdict.currentStatus !== "valid") this.#verdict(running, verdict);
    for (const [key, problems] of [...translator.ingresses()].sort(([a], [b]) => (a < b ? -1 : 1))) {
      if (problems.length > 0) this.#ingress(running, key, problems);
    }
    for (const { name } of translator.hosts()) this.#expiry(running, name);
  }

  changes(running: RunningController, delta: Delta): void {
    for (const host of [...delta.hosts].sort()) this.#host(running, host);
    for (const [key, verdict] of delta.verdicts) {
      if (verdict === undefined) this.#write(`${shortName(key)}: gone`);
      else this.#verdict(running, verdict);
    }
    for (const [key, problems] of delta.ingresses) {
      if (problems === undefined) this.#write(`Ingress ${shortName(key)}: gone`);
      else this.#ingress(running, key, problems);
    }
    for (const host of [...delta.hosts].sort()) this.#expiry(running, host);
  }

  /** What is wrong with objects that have no status to say it in. */
  notes(batch: readonly ObjectChange[]): void {
    for (const line of notesWithoutStatus(batch)) this.#write(line);
  }

  /** Those that were not there the last time. */
  problems(problems: readonly SourceProblem[]): void {
    const lines = problems.map(({ place, severity, text }) =>
      problemText({ place, text: severity === "note" ? `note: ${text}` : text }),
    );
    for (const line of lines) if (!this.#problems.has(line)) this.#write(line);
    this.#problems = new Set(lines);
  }

  #host({ controller }: RunningController, name: string): void {
    const host = controller.translator.host(name);
    if (host === undefined) this.#write(`${name}: nothing is served any more`);
    else for (const line of describeRoutes(host, this.#ports, this.#remark)) this.#write(line);
  }

  /** Once for as long as it is the same. */
  #expiry({ controller }: RunningController, name: string): void {
    const tls = controller.translator.host(name)?.tls;
    const text = tls && expiryWarning(tls.certificate, this.#now());
    if (text !== undefined && text !== this.#expiries.get(name)) this.#write(`${name}: warning: ${text}`);
    if (text === undefined) this.#expiries.delete(name);
    else this.#expiries.set(name, text);
  }

  #ingress({ source }: RunningController, key: ObjectKey, problems: readonly Problem[]): void {
    const isServed = problems.every((problem) => classOf(problem) !== "A");
    const how = problems.length === 0 ? "served" : isServed ? "served, except for what follows" : "not served";
    this.#write(`Ingress ${shortName(key)}: ${how}`);
    for (const problem of problems.slice(0, MAX_TOLD)) {
      const place = source.locate(problem.object, problem.at);
      const where = place === undefined ? "" : ` (${placeText(place)})`;
      this.#write(`  ${classOf(problem) === "C" ? "warning: " : ""}${describe(problem)}${where}`);
    }
    this.#more(problems);
  }

  #more({ length }: readonly Problem[]): void {
    if (length > MAX_TOLD) this.#write(`  and ${length - MAX_TOLD} more; isoline check tells them`);
  }

  #verdict({ source }: RunningController, { object, currentStatus, description, problems }: Verdict): void {
    // What is said of an orphan is about no field of it.
    const told = currentStatus === "invalid" ? worstOf(problems) : undefined;
    const place = told && source.locate(told.object, told.at);
    const where = place === undefined ? "" : ` (${placeText(place)})`;
    this.#write(`${shortName(object)}: ${currentStatus}${currentStatus === "valid" ? "" : `: ${description}${where}`}`);
    const warnings = problems.filter((problem) => classOf(problem) === "C");
    for (const warning of warnings.slice(0, MAX_TOLD)) this.#write(`  warning: ${describe(warning)}`);
    this.#more(warnings);
  }
}
