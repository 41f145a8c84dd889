import type { Ingress, IngressBackend } from "../../api/ingress.ts";
import { type ObjectKey, objectKey } from "../../api/object-key.ts";
import type * as ir from "../../ir/ir.ts";
import type { Unit, View } from "../../store/view.ts";
import type { ClusterBudget } from "../cluster-budget.ts";
import type { Findings } from "../findings.ts";
import { oldestFirst } from "../oldest-first.ts";
import type { CompileOptions } from "../options.ts";
import type { Fact, Subject } from "../problems.ts";
import { compileUpstream, portNotFound, type Upstream } from "../upstreams.ts";
import type { IngressSettings } from "./annotations.ts";
import { isOurs } from "./class.ts";
import { compilePath } from "./paths.ts";
import { backendId, type ReadIngress, readIngress } from "./read.ts";
import { pathSubject } from "./self-check.ts";
import { compileIngressTls } from "./tls.ts";

/**
 * What the regular expressions of one host may cost together. Envoy tries them one after the other, so this bounds how long
 * one request can keep a worker of Envoy from those of all other hosts: half a second, for a path of 60 kB that is made for it.
 */
const MAX_REGEX_COST = 1000;

/** What the Ingresses of one host publish there between them. */
export type IngressHost = {
  /** No two have the same match. */
  readonly routes: readonly ir.Route[];
  /** Undefined: none of them has put the host on the secure port. */
  readonly tls: ir.HostTls | undefined;
  /** The minimum versions of TLS that they ask for, and where. */
  readonly tlsVersions: ReadonlyMap<string, NonNullable<IngressSettings["minimumTlsVersion"]>>;
};

/** An Ingress that is ours and names the host. */
export type Participant = { readonly key: ObjectKey; readonly object: Ingress } & ReadIngress;

/** The rules and default backends of all Ingresses that name the host; undefined when none does. */
export function compileIngresses(
  unit: Unit,
  view: View,
  options: CompileOptions,
  budget: ClusterBudget,
  findings: Findings,
): IngressHost | undefined {
  const participants: Participant[] = [];
  for (const object of view.ingresses(unit)) {
    if (!isOurs(object, view, options)) continue;
    const key = objectKey("Ingress", object.metadata.namespace, object.metadata.name);
    findings.reach(key);
    participants.push({ key, object, ...readIngress(object) });
  }
  // The unit of an Ingress that names no usable host is no host.
  if (participants.length === 0 || unit.includes("/")) return undefined;
  participants.sort(oldestFirst);

  const tls = compileIngressTls(unit, participants, view, options, findings);
  const routes = new Map<string, ir.Route>();
  let regexCost = 0;
  for (const { participant, path, ...candidate } of candidates(unit, participants)) {
    const compiled = compilePath(path.path, path.pathType, options);
    if (!compiled.ok) continue;
    const id = `${compiled.match.kind} ${compiled.match.path}`;
    const holder = routes.get(id);
    const { key, settings } = participant;
    if (holder !== undefined) {
      const isSame = holder.origin.object === key && holder.origin.at === candidate.at;
      const fact: Fact = { code: "IngressPathHeld", holder: holder.origin.object as ObjectKey };
      if (!isSame) findings.report({ object: key, at: candidate.at, subject: candidate.subject(undefined), ...fact });
      continue;
    }
    if (regexCost + compiled.cost > MAX_REGEX_COST) {
      const fact: Fact = { code: "IngressPathTooCostly" };
      findings.report({ object: key, at: candidate.at, subject: candidate.subject(undefined), ...fact });
      continue;
    }
    regexCost += compiled.cost;
    const insecure = insecureSide(unit, settings);
    const secure = tls === undefined ? "absent" : "serve";
    if (insecure !== "serve" && secure === "absent") {
      const annotation = settings.redirects
        ? "ingress.kubernetes.io/force-ssl-redirect"
        : "kubernetes.io/ingress.allow-http";
      const fact: Fact = { code: "IngressNowhere", annotation };
      findings.report({ object: key, at: candidate.at, subject: candidate.subject(undefined), ...fact });
    }
    routes.set(id, {
      match: compiled.match,
      origin: { object: key, at: candidate.at },
      action: action(participant, path, candidate, view, options, budget, findings),
      insecure,
      secure,
    });
  }
  const tlsVersions = new Map(
    participants.flatMap(({ key, settings }) =>
      settings.minimumTlsVersion === undefined ? [] : [[key, settings.minimumTlsVersion]],
    ),
  );
  return { routes: [...routes.values()], tls, tlsVersions };
}

/** Rules for no host are never on https, and a redirect there would be to whatever host the client names. */
function insecureSide(unit: Unit, { redirects, allowsHttp }: IngressSettings): ir.Route["insecure"] {
  if (redirects) return unit === "*" ? "absent" : "redirect";
  return allowsHttp ? "serve" : "absent";
}

type Candidate = {
  readonly participant: Participant;
  readonly path: Ingress["rules"][number]["paths"][number];
  readonly at: string;
  /** Where the backend is named. */
  readonly backendAt: string;
  readonly subject: (service: string | undefined) => Subject;
};

/** Whoever comes first has a path. Default backends come after all rules: they take what is left. */
function* candidates(unit: Unit, participants: readonly Participant[]): Generator<Candidate> {
  for (const participant of participants) {
    for (const i of participant.rules.get(unit) ?? []) {
      const { host, paths = [] } = participant.object.rules[i] ?? {};
      if (paths.length === 0) yield* defaultBackendOf(participant, host);
      for (const [j, path] of paths.entries()) {
        const at = `spec.rules[${i}].http.paths[${j}]`;
        const subject = (service: string | undefined) => pathSubject(host, path.path, service);
        yield { participant, path, at, backendAt: `${at}.backend`, subject };
      }
    }
  }
  if (unit !== "*") return;
  for (const participant of participants) yield* defaultBackendOf(participant, undefined);
}

function* defaultBackendOf(participant: Participant, host: string | undefined): Generator<Candidate> {
  const { defaultBackend: backend, defaultBackendAt: at } = participant.object;
  if (backend === undefined) return;
  const path = { path: undefined, pathType: "ImplementationSpecific", backend } as const;
  yield { participant, path, at, backendAt: at, subject: (service) => pathSubject(host, undefined, service) };
}

function action(
  { key, object, settings, tooMany }: Participant,
  { path, backend }: Candidate["path"],
  { backendAt, subject }: Pick<Candidate, "backendAt" | "subject">,
  view: View,
  options: CompileOptions,
  budget: ClusterBudget,
  findings: Findings,
): ir.Action {
  // An Ingress that could not be read as a whole serves nothing; its paths are not left to others.
  if (object.notes.faults.length > 0 || backend === undefined) return { kind: "unavailable" };
  if (backend.kind === "resource") {
    findings.report({
      object: key,
      at: `${backendAt}.resource`,
      subject: subject(undefined),
      code: "IngressBackendUnsupported",
    });
    return { kind: "unavailable" };
  }
  const { service } = backend;
  const found = upstream(object.metadata.namespace, backend, view, options);
  if (found.kind === "broken") {
    findings.report({ object: key, at: backendAt, subject: subject(service), ...found.fact });
    return { kind: "unavailable" };
  }
  for (const fact of found.warnings) {
    findings.report({ object: key, at: backendAt, subject: { kind: "service", service }, ...fact });
  }
  if (tooMany?.beyond.has(backendId(backend))) {
    // Equal for all hosts of the Ingress, so it is told once.
    findings.report({ object: key, at: tooMany.at, subject: { kind: "object" }, ...tooMany.fact });
    return { kind: "unavailable" };
  }
  const use = { object: key, at: backendAt, subject: subject(service) };
  if (!budget.admit(found.cluster, use, findings.report.bind(findings))) return { kind: "unavailable" };
  return {
    kind: "forward",
    shares: [{ weight: 1, cluster: found.cluster }],
    prefixRewrite: undefined,
    timeout: settings.timeout,
    retry: settings.retry,
    allowsWebsockets: settings.websocketPaths.has(path ?? "/"),
  };
}

/** Services have no settings for whoever uses them by way of an Ingress. */
const NO_POLICIES: ir.ClusterPolicies = { loadBalancing: "roundRobin", healthCheck: undefined };

function upstream(
  namespace: string,
  { service: name, port }: Extract<IngressBackend, { kind: "service" }>,
  view: View,
  options: CompileOptions,
): Upstream {
  const ports = view.service(namespace, name)?.ports.filter(({ protocol }) => protocol === "TCP");
  const number = port.kind === "number" ? port.number : ports?.find((known) => known.name === port.name)?.port;
  if (number === undefined) {
    const fact: Fact =
      ports === undefined
        ? { code: "ServiceNotFound", namespace }
        : portNotFound(port.kind === "name" ? port.name : 0, ports.map(named));
    return { kind: "broken", fact };
  }
  return compileUpstream({ namespace, name, port: number }, NO_POLICIES, undefined, view, options);
}

function named({ name, port }: { readonly name: string; readonly port: number }): string | number {
  return name === "" ? port : name;
}
