import type { Socket } from "node:net";

/**
 * A bound of what is connected to a port to which strangers connect as often as they like. A newcomer is always let in: else
 * whoever comes first keeps out everybody else. The connection that has been idle the longest makes room, and of an
 * address that has more than its share, it is one of its own.
 */
export class ConnectionLimit {
  readonly #max: number;
  readonly #maxPerAddress: number;
  /** Here and below, whoever has been idle the longest is first. */
  readonly #open = new Set<Socket>();
  readonly #byAddress = new Map<string, Set<Socket>>();
  readonly #working = new Set<Socket>();

  constructor(limits: { readonly max: number; readonly maxPerAddress: number }) {
    this.#max = limits.max;
    this.#maxPerAddress = limits.maxPerAddress;
  }

  admit(socket: Socket): void {
    // Undefined for one that has gone already.
    const address = socket.remoteAddress ?? "";
    const peers = this.#byAddress.get(address) ?? new Set();
    const crowd = peers.size >= this.#maxPerAddress ? peers : this.#open.size >= this.#max ? this.#open : undefined;
    const leaving = crowd && this.#longestIdle(crowd);
    this.#byAddress.set(address, peers.add(socket));
    this.#open.add(socket);
    socket.once("close", () => this.#forget(socket, address, peers));
    if (leaving === undefined) return;
    // Others may come before it is closed.
    peers.delete(leaving);
    this.#open.delete(leaving);
    leaving.destroy();
  }

  /** It is not idle until the returned function is called. */
  working(socket: Socket): () => void {
    this.#working.add(socket);
    return () => {
      this.#working.delete(socket);
      for (const crowd of [this.#open, this.#byAddress.get(socket.remoteAddress ?? "")]) {
        if (crowd?.delete(socket)) crowd.add(socket);
      }
    };
  }

  #longestIdle(crowd: ReadonlySet<Socket>): Socket | undefined {
    for (const socket of crowd) if (!this.#working.has(socket)) return socket;
    const [oldest] = crowd;
    return oldest;
  }

  #forget(socket: Socket, address: string, peers: Set<Socket>): void {
    this.#open.delete(socket);
    peers.delete(socket);
    if (peers.size === 0 && this.#byAddress.get(address) === peers) this.#byAddress.delete(address);
  }
}
