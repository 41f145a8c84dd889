import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** One HTTP/1.1 connection that is kept, for asking the same question again and again as fast as it is answered. */
export class Probe {
  readonly #socket: Socket;
  #buffer = "";
  #answered: (() => void) | undefined;
  #reconnections = 0;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.setEncoding("latin1").on("data", (text: string) => {
      this.#buffer += text;
      this.#answered?.();
    });
    socket.on("close", () => {
      this.#reconnections++;
      this.#answered?.();
    });
  }

  static async open(port: number): Promise<Probe> {
    const socket = connect(port, "127.0.0.1");
    await once(socket, "connect");
    return new Probe(socket);
  }

  /** Status and body of one answer. */
  async ask(host: string, path: string): Promise<{ readonly status: number; readonly body: string }> {
    this.#socket.write(`GET ${path} HTTP/1.1\r\nhost: ${host}\r\n\r\n`);
    for (;;) {
      const answer = this.#take();
      if (answer !== undefined) return answer;
      if (this.#reconnections > 0) throw new Error("Envoy closed a connection that was in use");
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
