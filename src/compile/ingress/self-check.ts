import type { FieldNote } from "../../api/decode.ts";
import { hostnamePatternFault, ingressHost } from "../../api/hostname.ts";
import type { Ingress } from "../../api/ingress.ts";
import type { ObjectKey } from "../../api/object-key.ts";
import type * as ir from "../../ir/ir.ts";
import { wildcardOf } from "../../ir/wildcard.ts";
import { neverMatches } from "../ingressroute/paths.ts";
import type { CompileOptions } from "../options.ts";
import type { Fact, Problem, Subject } from "../problems.ts";
import { firstText } from "../route-order.ts";
import { compilePath } from "./paths.ts";
import { readIngress } from "./read.ts";

const OBJECT: Subject = { kind: "object" };

/** Everything that is the matter with an Ingress by itself, whatever else exists. */
export function ingressProblems(
  key: ObjectKey,
  ingress: Ingress,
  options: Pick<CompileOptions, "readRegex" | "minimumTlsVersion">,
): readonly Problem[] {
  const problems: Problem[] = [];
  const report = (at: string, fact: Fact, subject: Subject = OBJECT) => {
    problems.push({ object: key, at, subject, ...fact });
  };
  const note = (code: "InvalidField" | "FieldIgnored", { at, reason }: FieldNote) => {
    report(at, { code, field: at, reason });
  };
  const { notes, rules, tls, defaultBackend } = ingress;
  for (const fault of notes.faults) note("InvalidField", fault);
  for (const warning of notes.warnings) note("FieldIgnored", warning);
  const { settings, rules: rulesByHost } = readIngress(ingress);
  for (const { at, fact } of settings.problems) report(at, fact);
  const { version, at = "" } = settings.minimumTlsVersion ?? {};
  if (version !== undefined && version < options.minimumTlsVersion) {
    report(at, { code: "TlsVersionRaised", version, minimum: options.minimumTlsVersion });
  }

  const isRead = notes.faults.length === 0;
  if (isRead && rules.length === 0 && defaultBackend === undefined) report("spec", { code: "IngressWithoutBackend" });
  for (const [i, { host, paths }] of rules.entries()) {
    const at = `spec.rules[${i}]`;
    const reason = hostnamePatternFault(ingressHost(host));
    if (reason !== undefined) report(`${at}.host`, { code: "IngressHostInvalid", host: host ?? "", reason });
    if (isRead && paths.length === 0 && defaultBackend === undefined) report(at, { code: "IngressWithoutBackend" });
    for (const [j, { path, pathType }] of paths.entries()) {
      // What could not be read is told already.
      if (pathType === undefined) continue;
      const compiled = compilePath(path, pathType, options);
      const subject = pathSubject(host, path);
      const pathAt = `${at}.http.paths[${j}].path`;
      if (!compiled.ok) report(pathAt, { code: "IngressPathInvalid", reason: compiled.reason }, subject);
      else {
        const never = whyNever(compiled.match);
        if (never !== undefined) report(pathAt, { code: "RouteNeverMatches", reason: never }, subject);
        const reason = whyNoGlob(compiled.match);
        if (reason !== undefined) report(pathAt, { code: "FieldIgnored", field: "path", reason }, subject);
      }
    }
  }
  const covered = new Set([...rulesByHost.keys()].flatMap((host) => [host, wildcardOf(host)]));
  // Certificates are for names.
  covered.delete("*");
  const namesHosts = [...rulesByHost.keys()].some((host) => host !== "*");
  for (const [i, entry] of tls.entries()) {
    if (entry.hosts.length === 0 && !namesHosts) {
      const field = `spec.tls[${i}]`;
      report(field, { code: "FieldIgnored", field, reason: "is for the hosts of the rules, and no rule names one" });
    }
    for (const [j, host] of entry.hosts.entries()) {
      if (!covered.has(host.toLowerCase()))
        report(`spec.tls[${i}].hosts[${j}]`, { code: "IngressTlsHostUnused", host });
    }
  }
  return problems;
}

function whyNever(match: ir.PathMatch): string | undefined {
  if (match.kind !== "regex") return neverMatches(match.path);
  return firstText(match).startsWith("/")
    ? undefined
    : "paths begin with a slash, and a regular expression is for all of one";
}

/** What `*` means in a path that looks as if it were for any text. */
function whyNoGlob({ kind, path }: ir.PathMatch): string | undefined {
  switch (kind) {
    case "regex":
      // Other uses, as in `.*` and `[a-z]*`, show that the author knows.
      if (!/[-/\w]\*/.test(path)) return undefined;
      return "* repeats the character before it, as this is a regular expression; write .* for any text, or pathType: Prefix";
    case "exact":
      return path.includes("*") ? "* stands for itself, not for any text" : undefined;
    case "prefix":
    case "stringPrefix":
      if (!path.includes("*")) return undefined;
      return "* stands for itself, not for any text; a prefix already matches everything below it";
  }
}

/** The subject of a sentence about one path of a rule. */
export function pathSubject(host: string | undefined, path: string | undefined, service?: string): Subject {
  const match = `${host ?? ""}${path ?? "/"}`;
  return service === undefined ? { kind: "route", match } : { kind: "route", match, service };
}
