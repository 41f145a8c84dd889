import { ConnectionError } from "./errors.ts";

const NEWLINE = 0x0a;

/** Puts a stream of bytes together to lines of JSON. Lines are cut as bytes, so that no character is ever torn. */
export class JsonLines {
  readonly #maxBytes: number;
  /** The beginning of a line that has not ended yet. */
  #pending: Buffer[] = [];
  #pendingBytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Adds the values of the lines that end in this chunk; where it throws, those before what cannot be read. */
  push(chunk: Buffer, values: unknown[]): void {
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      const line = this.#finish(chunk.subarray(start, end));
      if (line.trim() !== "") values.push(parse(line));
      start = end + 1;
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start));
  }

  /** Whether there is nothing but whole lines. */
  get isWhole(): boolean {
    return this.#pendingBytes === 0;
  }

  #finish(end: Buffer): string {
    if (this.#pendingBytes === 0) return end.toString();
    this.#keep(end);
    const line = Buffer.concat(this.#pending).toString();
    this.#pending = [];
    this.#pendingBytes = 0;
    return line;
  }

  #keep(part: Buffer): void {
    this.#pendingBytes += part.length;
    if (this.#pendingBytes > this.#maxBytes) {
      throw new ConnectionError("garbled", `a line of more than ${this.#maxBytes} bytes came`);
    }
    this.#pending.push(part);
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    // The words of JSON.parse quote the line, which may hold a Secret.
    throw new ConnectionError("garbled", "a line that is no JSON came");
  }
}
