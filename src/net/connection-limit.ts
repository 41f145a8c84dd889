import type { Socket } from "node:net";

/**
 * A bound of what is connected to a port to which strangers connect as often as they like. A newcomer is always let in: else
 * whoever comes first keeps out everybody else. The connection that has been idle the longest makes room: one of the
 * newcomer's address if that has its share, and else one of the address that has the most.
 */
export class ConnectionLimit {
  readonly #max: number;
  readonly #maxPerAddress: number;
  /** Whoever has been idle the longest is first. */
  readonly #byAddress = new Map<string, Set<Socket>>();
  readonly #working = new Set<Socket>();
  #open = 0;

  constructor(limits: { readonly max: number; readonly maxPerAddress: number }) {
    this.#max = limits.max;
    this.#maxPerAddress = limits.maxPerAddress;
  }

  admit(socket: Socket): void {
    // Undefined for one that has gone already.
    const address = socket.remoteAddress ?? "";
    const peers = this.#byAddress.get(address) ?? new Set();
    const crowd = peers.size >= this.#maxPerAddress ? peers : this.#open >= this.#max ? this.#largest() : undefined;
    const leaving = crowd && this.#longestIdle(crowd);
    this.#byAddress.set(address, peers.add(socket));
    this.#open++;
    socket.once("close", () => this.#forget(socket, peers, address));
    if (crowd === undefined || leaving === undefined) return;
    // Others may come before it is closed.
    if (crowd.delete(leaving)) this.#open--;
    leaving.destroy();
  }

  /** It is not idle until the returned function is called. It may be the TLS of what was admitted. */
  working(socket: Socket): () => void {
    const { remoteAddress = "", remotePort } = socket;
    const peers = this.#byAddress.get(remoteAddress) ?? new Set();
    // TLS does not tell which socket is below it, but both have the same other end.
    const admitted = peers.has(socket) ? socket : [...peers].find((peer) => peer.remotePort === remotePort);
    if (admitted === undefined) return () => {};
    this.#working.add(admitted);
    return () => {
      this.#working.delete(admitted);
      if (peers.delete(admitted)) peers.add(admitted);
    };
  }

  #largest(): Set<Socket> {
    let largest = new Set<Socket>();
    for (const peers of this.#byAddress.values()) if (peers.size > largest.size) largest = peers;
    return largest;
  }

  #longestIdle(crowd: ReadonlySet<Socket>): Socket | undefined {
    for (const socket of crowd) if (!this.#working.has(socket)) return socket;
    const [oldest] = crowd;
    return oldest;
  }

  #forget(socket: Socket, peers: Set<Socket>, address: string): void {
    this.#working.delete(socket);
    if (peers.delete(socket)) this.#open--;
    if (peers.size === 0 && this.#byAddress.get(address) === peers) this.#byAddress.delete(address);
  }
}
