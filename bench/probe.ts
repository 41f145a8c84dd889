import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls, TLSSocket } from "node:tls";

/** One HTTP/1.1 connection that is kept, for asking the same question again and again as fast as it is answered. */
export class Probe {
  readonly #socket: Socket;
  #buffer = "";
  #answered: (() => void) | undefined;
  #isClosed = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding("latin1").on("data", (text: string) => {
      this.#buffer += text;
      this.#answered?.();
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      this.#isClosed = true;
      this.#answered?.();
    });
  }

  static async open(port: number): Promise<Probe> {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    return new Probe(socket);
  }

  /** Over TLS. Rejects when the handshake fails; nothing is verified. */
  static async openTls(port: number, servername: string): Promise<Probe> {
    const socket = connectTls({ host: "127.0.0.1", port, servername, rejectUnauthorized: false });
    await once(socket, "secureConnect");
    return new Probe(socket);
  }

  /** The serial number of the certificate that was presented. */
  get serial(): string {
    return this.#socket instanceof TLSSocket ? this.#socket.getPeerCertificate().serialNumber : "";
  }

  get isOpen(): boolean {
    return !this.#isClosed;
  }

  /** Status and body of one answer. */
  async ask(host: string, path: string): Promise<{ readonly status: number; readonly body: string }> {
    this.#socket.write(`GET ${path} HTTP/1.1\r\nhost: ${host}\r\n\r\n`);
    for (;;) {
      const answer = this.#take();
      if (answer !== undefined) return answer;
      if (this.#isClosed) throw new Error("Envoy closed a connection that was in use");
      await new Promise<void>((resolve) => {
        this.#answered = resolve;
      });
    }
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(): { readonly status: number; readonly body: string } | undefined {
    const end = this.#buffer.indexOf("\r\n\r\n");
    if (end < 0) return undefined;
    const head = this.#buffer.slice(0, end);
    const length = Number(/^content-length: (\d+)/im.exec(head)?.[1] ?? 0);
    if (this.#buffer.length < end + 4 + length) return undefined;
    const body = this.#buffer.slice(end + 4, end + 4 + length);
    this.#buffer = this.#buffer.slice(end + 4 + length);
    return { status: Number(head.slice(9, 12)), body };
  }
}
