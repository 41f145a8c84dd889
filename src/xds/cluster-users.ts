import type { UserType } from "./type-urls.ts";

export type { UserType } from "./type-urls.ts";

type UserState = {
  /** Clusters of each version that Envoy may be running, by version. */
  readonly versions: Map<string, readonly string[]>;
  accepted: string | undefined;
  /** Envoy runs a version from before the stream of which we do not know the clusters. */
  unknown: boolean;
};

/** Names a scope or listener. Only {@link userOf} makes one. */
export type User = string & { readonly __brand: "User" };

export function userOf(type: UserType, name: string): User {
  return `${type} ${name}` as User;
}

export function userNamed(user: User): { readonly type: UserType; readonly name: string } {
  const space = user.indexOf(" ");
  return { type: user.slice(0, space) === "listener" ? "listener" : "scopedRoute", name: user.slice(space + 1) };
}

/**
 * Make before break: scopes and listeners wait here for the clusters they newly need, and clusters wait here to be
 * removed until no scope or listener that Envoy may be running leads to them.
 */
export class ClusterUsers {
  readonly #users = new Map<User, UserState>();
  /** How many versions of users that may be running lead to a cluster. */
  readonly #uses = new Map<string, number>();
  #unknownUsers = 0;
  /** Each waiting user waits for one cluster at a time. */
  readonly #waitsFor = new Map<User, string>();
  readonly #waiters = new Map<string, Set<User>>();
  readonly #unwanted = new Set<string>();
  readonly #blocked = new Set<string>();

  /** Until then nothing is known of what a reconnecting Envoy runs, and no cluster may go. */
  #usersAreKnown = true;

  setUsersAreKnown(known: boolean): void {
    this.#usersAreKnown = known;
    this.#unblockAll();
  }

  /** Envoy holds this user from an earlier stream; `clusters` is undefined when its version is not the current one. */
  claim(user: User, version: string, clusters: readonly string[] | undefined): void {
    const state = this.#state(user);
    if (clusters === undefined) {
      if (!state.unknown) this.#unknownUsers++;
      state.unknown = true;
    } else {
      this.#add(state, version, clusters);
      state.accepted = version;
    }
  }

  send(user: User, version: string, clusters: readonly string[]): void {
    this.#add(this.#state(user), version, clusters);
  }

  accept(user: User, version: string): void {
    const state = this.#users.get(user);
    if (state === undefined) return;
    state.accepted = version;
    this.#known(state);
    for (const other of [...state.versions.keys()]) {
      if (other !== version) this.#drop(state, other);
    }
  }

  /** Refused by itself: Envoy certainly does not run it. */
  refuse(user: User, version: string): void {
    const state = this.#users.get(user);
    if (state !== undefined && state.accepted !== version) this.#drop(state, version);
  }

  /** Envoy runs it no more, and no longer wants it. */
  forget(user: User): void {
    this.stopWaiting(user);
    this.remove(user);
  }

  /** Envoy runs it no more. */
  remove(user: User): void {
    const state = this.#users.get(user);
    if (state === undefined) return;
    this.#known(state);
    for (const version of [...state.versions.keys()]) this.#drop(state, version);
    this.#users.delete(user);
  }

  /** Whether the version that Envoy runs leads to this cluster already, so that it need not be waited for. */
  runsWith(user: User, cluster: string): boolean {
    const state = this.#users.get(user);
    if (state?.accepted === undefined) return false;
    return state.versions.get(state.accepted)?.includes(cluster) === true;
  }

  waitFor(user: User, cluster: string): void {
    this.stopWaiting(user);
    this.#waitsFor.set(user, cluster);
    const waiters = this.#waiters.get(cluster);
    if (waiters === undefined) this.#waiters.set(cluster, new Set([user]));
    else waiters.add(user);
  }

  stopWaiting(user: User): void {
    const cluster = this.#waitsFor.get(user);
    if (cluster === undefined) return;
    this.#waitsFor.delete(user);
    const waiters = this.#waiters.get(cluster);
    waiters?.delete(user);
    if (waiters?.size === 0) this.#waiters.delete(cluster);
  }

  waitersFor(cluster: string): readonly User[] {
    return [...(this.#waiters.get(cluster) ?? [])];
  }

  /** All users that wait, or whose version in Envoy leads to a cluster. */
  *all(): Iterable<User> {
    yield* this.#waitsFor.keys();
    yield* this.#users.keys();
  }

  /** How many of this type wait for a cluster. */
  waiting(type: UserType): number {
    let count = 0;
    for (const user of this.#waitsFor.keys()) if (userNamed(user).type === type) count++;
    return count;
  }

  /** A cluster that the cache no longer has is to be removed as soon as nothing leads to it. */
  unwant(cluster: string): void {
    if (!this.#blocked.has(cluster)) this.#unwanted.add(cluster);
  }

  /** The clusters that can be removed now. Those that cannot stay here until their last user is gone. */
  takeRemovable(): readonly string[] {
    const removable: string[] = [];
    for (const cluster of this.#unwanted) {
      if (this.#usersAreKnown && this.#unknownUsers === 0 && !this.#uses.has(cluster)) removable.push(cluster);
      else this.#blocked.add(cluster);
    }
    this.#unwanted.clear();
    return removable;
  }

  #state(user: User): UserState {
    let state = this.#users.get(user);
    if (state === undefined) {
      state = { versions: new Map(), accepted: undefined, unknown: false };
      this.#users.set(user, state);
    }
    return state;
  }

  #add(state: UserState, version: string, clusters: readonly string[]): void {
    if (state.versions.has(version)) return;
    state.versions.set(version, clusters);
    for (const cluster of clusters) this.#uses.set(cluster, (this.#uses.get(cluster) ?? 0) + 1);
  }

  #drop(state: UserState, version: string): void {
    const clusters = state.versions.get(version);
    if (clusters === undefined) return;
    state.versions.delete(version);
    for (const cluster of clusters) {
      const uses = (this.#uses.get(cluster) ?? 0) - 1;
      if (uses > 0) this.#uses.set(cluster, uses);
      else {
        this.#uses.delete(cluster);
        if (this.#blocked.delete(cluster)) this.#unwanted.add(cluster);
      }
    }
  }

  #known(state: UserState): void {
    if (!state.unknown) return;
    state.unknown = false;
    this.#unknownUsers--;
    this.#unblockAll();
  }

  #unblockAll(): void {
    if (!this.#usersAreKnown || this.#unknownUsers > 0) return;
    for (const cluster of this.#blocked) this.#unwanted.add(cluster);
    this.#blocked.clear();
  }
}
