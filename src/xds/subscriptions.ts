import { userNamed, userOf } from "./cluster-users.ts";
import { BEFORE_STREAM, BEFORE_STREAM_LAST } from "./ledger.ts";
import { EMPTY_ASSIGNMENT, type StreamState } from "./stream-state.ts";
import { isUserType, isWildcard, type ResourceType } from "./type-urls.ts";
import type { DeltaRequest } from "./wire.ts";

/** Takes what a request subscribes to and unsubscribes from, and what Envoy says in it that it holds. */
export function takeSubscriptions(state: StreamState, type: ResourceType, request: DeltaRequest, nowMs: number): void {
  for (const name of request.unsubscribe) unsubscribe(state, type, name);
  if (isWildcard(type)) takeWildcard(state, type, request);
  else takeNames(state, type, request, nowMs);
}

/** The one walk over all names of a type: what Envoy holds is compared with the cache. */
export function compareWithCache(state: StreamState, type: ResourceType): void {
  if (!isWildcard(type)) return; // names asked for are owed already
  const { cache, readiness, users } = state;
  const ledger = state.ledgers[type];
  const resources = cache.resources(type);
  for (const [name, resource] of resources) {
    if (ledger.items.get(name)?.sent !== resource.version) ledger.owed.add(name);
    else if (type === "cluster") readiness.set(resource);
  }
  for (const [name, item] of ledger.items) {
    const resource = resources.get(name);
    if (resource === undefined) ledger.owed.add(name);
    if (!isUserType(type) || item.accepted === undefined) continue;
    const isCurrent = resource?.version === item.accepted;
    users.claim(userOf(type, name), item.accepted, isCurrent ? resource.clusters : undefined);
  }
}

function takeWildcard(state: StreamState, type: ResourceType, request: DeltaRequest): void {
  const ledger = state.ledgers[type];
  // An Envoy that names nothing in its first request wants all, as one that names "*".
  const namesNothing = request.nonce === "" && request.subscribe.length + request.unsubscribe.length === 0;
  if (request.subscribe.includes("*") || (namesNothing && !ledger.requested)) subscribeAll(state, type, request);
  for (const name of request.subscribe) {
    if (name === "*") continue;
    ledger.item(name).sent = undefined;
    ledger.owed.add(name);
  }
}

/** Envoy wants every resource of a type, and holds these versions already. */
function subscribeAll(state: StreamState, type: ResourceType, request: DeltaRequest): void {
  const { ledgers, users } = state;
  const ledger = ledgers[type];
  if (ledger.requested) forgetAll(state, type);
  ledger.requested = true;
  for (const [name, version] of request.initialVersions) ledger.claim(name, version, BEFORE_STREAM);
  if (state.cache.isReady) compareWithCache(state, type);
  if (type === "cluster" && request.initialVersions.length > 0) users.setUsersAreKnown(false);
  if (ledgers.listener.requested && ledgers.scopedRoute.requested) users.setUsersAreKnown(true);
}

function takeNames(state: StreamState, type: ResourceType, request: DeltaRequest, nowMs: number): void {
  const ledger = state.ledgers[type];
  const claimed = new Set<string>();
  if (!ledger.requested) {
    for (const [name, version] of request.initialVersions) {
      claimed.add(name);
      claim(state, type, name, version, nowMs);
    }
  }
  ledger.requested = true;
  for (const name of request.subscribe) if (!claimed.has(name)) subscribe(state, type, name);
}

function claim(state: StreamState, type: ResourceType, name: string, version: string, nowMs: number): void {
  const ledger = state.ledgers[type];
  if (type === "secret") state.secrets.add(name);
  ledger.owed.add(name);
  // Pushed behind a changed cluster, or about to be, before Envoy told what it holds: that stands.
  const isPushed = ledger.isUnanswered(name) || ledger.urgent.has(name);
  (isPushed ? ledger.item(name) : ledger.claim(name, version, BEFORE_STREAM_LAST)).subscribed = true;
  if (type === "loadAssignment") state.settleClustersOf(name, nowMs);
}

function subscribe(state: StreamState, type: ResourceType, name: string): void {
  const ledger = state.ledgers[type];
  const item = ledger.item(name);
  item.subscribed = true;
  if (type === "loadAssignment") {
    const version = state.resource(type, name)?.version ?? EMPTY_ASSIGNMENT;
    const followsCluster = item.sentIn > state.readiness.lastClusterIn(name);
    // It was pushed behind its cluster, and Envoy asked for it before it got there.
    if (item.sent === version && followsCluster && ledger.isUnanswered(name)) return;
    // What Envoy acknowledged before it asked it has dropped.
    item.acceptedIn = BEFORE_STREAM;
  } else state.secrets.add(name);
  ledger.demand(name); // an asked-for name is always answered
}

function unsubscribe(state: StreamState, type: ResourceType, name: string): void {
  if (isWildcard(type)) {
    if (name === "*") forgetAll(state, type);
    return;
  }
  state.ledgers[type].forget(name);
  if (type === "secret") state.secrets.delete(name);
}

function forgetAll({ ledgers, readiness, users }: StreamState, type: ResourceType): void {
  if (type === "cluster") readiness.clear();
  for (const user of [...users.all()]) if (userNamed(user).type === type) users.forget(user);
  ledgers[type].clear();
}
