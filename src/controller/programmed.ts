import { namespaceOf } from "../api/object-key.ts";
import { byCodeUnit } from "../api/order.ts";
import { printable } from "../api/printable.ts";
import { type Condition, observed } from "../compile/conditions.ts";
import { classOf } from "../compile/problems.ts";
import type { Verdict } from "../compile/verdicts.ts";
import { HTTP_LISTENER, HTTPS_LISTENER } from "../envoy/listeners.ts";
import { httpScope, httpsScope, scopeName } from "../envoy/names.ts";
import type { Standing } from "../status/wish.ts";
import type { Cache, ResourceType } from "../xds/cache.ts";
import { nameOfEnvoy } from "../xds/envoys.ts";
import type { XdsServer } from "../xds/server.ts";
import { digest } from "./digest.ts";
import type { ObjectHosts } from "./object-hosts.ts";

/** The condition `Programmed`, and what is still to be expected of it. */
export type Programmed = {
  readonly condition: Condition;
  readonly standing: Standing;
};

/** What keeps one Envoy from running a host as it is now. */
export type Trouble = {
  readonly envoy: string;
  readonly type: ResourceType;
  readonly name: string;
  /** Of a cluster: the namespace of its Service, the only one whose objects can have named it. */
  readonly namespace: string | undefined;
  /** Keys of the objects that the resource was made of. */
  readonly origins: readonly string[];
  /** Envoy's words; undefined: it has not answered yet. */
  readonly refusal: string | undefined;
};

type Accepting = Pick<XdsServer, "acceptances" | "connected">;

/** Whether every connected Envoy runs what objects say, looked up when somebody asks: it costs the object's own hosts. */
export class ProgrammedNow {
  /** How many resources were looked at so far, for proving that work follows the question. */
  examined = 0;
  readonly #hosts: ObjectHosts;
  readonly #cache: Cache;
  readonly #xds: Accepting;

  constructor(hosts: ObjectHosts, cache: Cache, xds: Accepting) {
    this.#hosts = hosts;
    this.#cache = cache;
    this.#xds = xds;
  }

  of(verdict: Verdict): Programmed {
    const hosts = concernedHosts(verdict, this.#hosts);
    const troubles = hosts.map((host) => [host, this.troubles(host)] as const);
    return programmedOf(verdict, { isServed: hosts.length > 0, connected: this.#xds.connected, troubles });
  }

  /** What stands in the way of one host, in every connected Envoy. */
  troubles(host: string): readonly Trouble[] {
    const secureScope = scopeName(httpsScope(host), digest);
    const scopes = [scopeName(httpScope(host), digest), secureScope].flatMap((name) => this.#look("scopedRoute", name));
    const inListener = this.#hosts.record(host)?.inListener ?? "no";
    const isSecure = inListener !== "no" || this.#cache.get("scopedRoute", secureScope) !== undefined;
    return [
      ...scopes.flatMap(({ troubles }) => troubles),
      ...this.#listener(HTTP_LISTENER, true),
      // Hosts that do not stand in it are not concerned by its changes: any version of it serves them.
      ...(isSecure ? this.#listener(HTTPS_LISTENER, inListener === "no") : []),
      ...this.#look("secret", host).flatMap(({ troubles }) => troubles),
      ...[...new Set(scopes.flatMap(({ clusters }) => clusters))].flatMap((name) =>
        this.#look("cluster", name).flatMap(({ troubles }) => troubles),
      ),
    ];
  }

  #listener(name: string, anyVersion: boolean): readonly Trouble[] {
    return this.#look("listener", name, anyVersion).flatMap(({ troubles }) => troubles);
  }

  /** At most one item: none for a resource that is not there. */
  #look(
    type: ResourceType,
    name: string,
    anyVersion: boolean = false,
  ): readonly { readonly clusters: readonly string[]; readonly troubles: readonly Trouble[] }[] {
    const resource = this.#cache.get(type, name);
    if (resource === undefined) return [];
    this.examined++;
    const namespace = type === "cluster" ? name.split("/")[0] : undefined;
    const troubles: Trouble[] = [];
    for (const { envoy, acceptance } of this.#xds.acceptances(type, name)) {
      if (acceptance.kind === "accepted" || (anyVersion && acceptance.runsAnother)) continue;
      // What leads to a cluster follows it, and its own acknowledgement hangs on the endpoints of everybody else.
      if (acceptance.kind === "pending" && type === "cluster") continue;
      const refusal = acceptance.kind === "refused" ? acceptance.message : undefined;
      troubles.push({
        envoy: printable(nameOfEnvoy(envoy).slice(0, MAX_NAME_LENGTH)),
        type,
        name,
        namespace,
        origins: resource.origins,
        refusal,
      });
    }
    return [{ clusters: resource.clusters, troubles }];
  }
}

/** The hosts whose resources decide whether an object is programmed. */
function concernedHosts(verdict: Verdict, hosts: ObjectHosts): readonly string[] {
  const isConcerned = concern(verdict);
  return [...hosts.of(verdict.object)].filter(([, serves]) => isConcerned(serves)).map(([host]) => host);
}

/**
 * A valid object may have no route that serves, a root that only delegates for one. Of one that is ignored, something can be
 * served all the same: below another parent, where it is in order.
 */
export function concern({ problems }: Verdict): (serves: boolean) => boolean {
  const isIgnored = problems.some((problem) => classOf(problem) === "A");
  return (serves) => serves || !isIgnored;
}

/** `troubles` by host, of the hosts that concern the object. */
export function programmedOf(
  verdict: Verdict,
  {
    isServed,
    connected,
    troubles,
  }: {
    readonly isServed: boolean;
    readonly connected: number;
    readonly troubles: Iterable<readonly [string, readonly Trouble[]]>;
  },
): Programmed {
  const condition = (state: Pick<Condition, "status" | "reason" | "message">): Condition => ({
    type: "Programmed",
    ...state,
    ...observed(verdict),
  });
  if (!isServed) {
    const message = "nothing of this object is served";
    return { condition: condition({ status: "False", reason: "NotServed", message }), standing: "settled" };
  }
  if (connected === 0) {
    const message = "no Envoy is connected that has routes";
    return { condition: condition({ status: "Unknown", reason: "NoEnvoy", message }), standing: "unheard" };
  }
  const namespace = namespaceOf(verdict.object);
  const refusals: string[] = [];
  const laggards = new Set<string>();
  for (const [host, all] of troubles) {
    for (const trouble of all) {
      if (trouble.namespace !== undefined && trouble.namespace !== namespace) continue;
      if (trouble.refusal === undefined) laggards.add(trouble.envoy);
      else refusals.push(describeRefusal(trouble, trouble.refusal, host, verdict));
    }
  }
  const [refusal] = refusals.sort(byCodeUnit);
  if (refusal !== undefined) {
    const standing = laggards.size === 0 ? "settled" : "refused";
    return { condition: condition({ status: "False", reason: "Refused", message: refusal }), standing };
  }
  if (laggards.size > 0) {
    const message = `not yet accepted by ${nameSome([...laggards].sort(byCodeUnit))}`;
    return { condition: condition({ status: "False", reason: "Pending", message }), standing: "pending" };
  }
  // No count: an Envoy that comes or goes must not rewrite every status.
  const message = "accepted by every connected Envoy";
  return { condition: condition({ status: "True", reason: "Accepted", message }), standing: "settled" };
}

const MAX_NAMED = 3;
const MAX_NAME_LENGTH = 100;

function nameSome(names: readonly string[]): string {
  return `${names.slice(0, MAX_NAMED).join(", ")}${names.length > MAX_NAMED ? " and others" : ""}`;
}

/**
 * What Envoy says may quote anything in the resource. It is for the owner of the host, and for those in whose namespace all
 * of the resource was made; the listener holds hosts of everybody. See ADR 0013.
 */
function describeRefusal(
  { envoy, type, name, namespace, origins }: Trouble,
  words: string,
  host: string,
  verdict: Verdict,
) {
  const { object, fqdn } = verdict;
  const isOwn =
    namespace !== undefined ||
    (type !== "listener" &&
      (fqdn?.toLowerCase() === host || origins.every((origin) => namespaceOf(origin) === namespaceOf(object))));
  const why = isOwn
    ? `: ${printable(words)}`
    : "; why is told in the log of Isoline alone, because others have a part in it";
  return `Envoy ${envoy} refused the ${TYPE_NAMES[type]} ${type === "scopedRoute" ? `of ${host}` : name}${why}`;
}

const TYPE_NAMES: Readonly<Record<ResourceType, string>> = {
  cluster: "cluster",
  loadAssignment: "load assignment",
  listener: "listener",
  scopedRoute: "routes",
  secret: "certificate",
};
