import { type ObjectKey, shortName } from "../api/object-key.ts";
import { type Condition, observed } from "../compile/conditions.ts";
import { classOf } from "../compile/problems.ts";
import type { Verdict } from "../compile/verdicts.ts";
import { HTTPS_LISTENER } from "../envoy/listeners.ts";
import { httpScope, httpsScope } from "../envoy/names.ts";
import type { Translator } from "../translate/translator.ts";
import type { Cache, ResourceType } from "../xds/cache.ts";
import { nameOfEnvoy } from "../xds/envoys.ts";
import type { XdsServer } from "../xds/server.ts";

type ResourceName = { readonly type: ResourceType; readonly name: string };

/**
 * Whether every connected Envoy runs what an object says, for all objects at once: a function from a verdict to its
 * condition `Programmed`.
 */
export function programmedConditions(
  translator: Translator,
  cache: Cache,
  xds: XdsServer,
): (verdict: Verdict) => Condition {
  const reachedBy = new Map<string, string[]>();
  const servedBy = new Map<string, string[]>();
  for (const { name, objects, routes } of translator.hosts()) {
    for (const object of objects) push(reachedBy, object, name);
    for (const object of new Set(routes.map(({ origin }) => origin.object))) push(servedBy, object, name);
  }
  return (verdict) => {
    // A valid object may have no route that serves, a root that only delegates for one. Of one that is ignored, something
    // can be served all the same: below another parent, where it is in order.
    const isIgnored = verdict.problems.some((problem) => classOf(problem) === "A");
    const hosts = (isIgnored ? servedBy : reachedBy).get(verdict.object) ?? [];
    const state = hosts.length === 0 ? NOT_SERVED : acceptedState(resourcesOf(verdict.object, hosts, cache), xds);
    return { type: "Programmed", ...state, ...observed(verdict) };
  };
}

function push(index: Map<string, string[]>, key: string, value: string): void {
  const values = index.get(key);
  if (values === undefined) index.set(key, [value]);
  else values.push(value);
}

type State = Pick<Condition, "status" | "reason" | "message">;

const NOT_SERVED: State = { status: "False", reason: "NotServed", message: "nothing of this object is served" };

/** The scopes that the object has a part in, the certificates and the listener, and of their clusters those that it can have named. */
function resourcesOf(object: ObjectKey, hosts: readonly string[], cache: Cache): readonly ResourceName[] {
  const [namespace = ""] = shortName(object).split("/");
  return hosts.flatMap((host): ResourceName[] => {
    const scopes = [httpScope(host), httpsScope(host)].map((name): ResourceName => ({ type: "scopedRoute", name }));
    // Everything of the secure port also needs its listener, where some hosts have a filter chain of their own.
    const secure: readonly ResourceName[] = [
      { type: "secret", name: host },
      { type: "listener", name: HTTPS_LISTENER },
    ];
    const found = [...scopes, ...secure].flatMap(({ type, name }) => cache.get(type, name)?.resource ?? []);
    const clusters = new Set(found.flatMap((resource) => resource.clusters));
    const own = [...clusters].filter((cluster) => cluster.startsWith(`${namespace}/`));
    return [...found, ...own.map((name): ResourceName => ({ type: "cluster", name }))];
  });
}

function acceptedState(resources: readonly ResourceName[], xds: XdsServer): State {
  let connected = 0;
  const laggards = new Set<string>();
  for (const { type, name } of resources) {
    const answers = xds.acceptances(type, name);
    connected = answers.length;
    for (const { envoy, acceptance } of answers) {
      const who = nameOfEnvoy(envoy);
      if (acceptance.kind === "refused") {
        return { status: "False", reason: "Refused", message: `Envoy ${who} refused ${name}: ${acceptance.message}` };
      }
      // What leads to a cluster follows it, and its own acknowledgement hangs on the endpoints of everybody else.
      if (acceptance.kind === "pending" && type !== "cluster") laggards.add(who);
    }
  }
  if (connected === 0) return { status: "Unknown", reason: "NoEnvoy", message: "no Envoy is connected" };
  if (laggards.size > 0) {
    return { status: "False", reason: "Pending", message: `not yet accepted by ${[...laggards].sort().join(", ")}` };
  }
  return {
    status: "True",
    reason: "Accepted",
    message: `accepted by ${connected} connected Envoy${connected === 1 ? "" : "s"}`,
  };
}
