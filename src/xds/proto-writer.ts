/**
 * Writes length-delimited fields of Protocol Buffers into memory whose size is known before. All of ours have numbers below
 * 16, so that their tags are one byte.
 */
export class ProtoWriter {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(size: number) {
    this.#buffer = Buffer.allocUnsafeSlow(size);
  }

  text(field: number, text: string): void {
    this.begin(field, Buffer.byteLength(text));
    this.#at += this.#buffer.write(text, this.#at);
  }

  bytes(field: number, bytes: Uint8Array): void {
    this.begin(field, bytes.length);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** The beginning of a field of so many bytes, which follow. */
  begin(field: number, length: number): void {
    this.#buffer[this.#at++] = (field << 3) | LENGTH_DELIMITED;
    let rest = length;
    for (; rest > 127; rest >>>= 7) this.#buffer[this.#at++] = (rest & 127) | 128;
    this.#buffer[this.#at++] = rest;
  }

  finish(): Buffer {
    if (this.#at !== this.#buffer.length) throw new Error(`${this.#at} bytes were written of ${this.#buffer.length}`);
    return this.#buffer;
  }
}

const LENGTH_DELIMITED = 2;

/** Of a whole field whose content has so many bytes. */
export function sizeOfField(length: number): number {
  let bytes = 2;
  for (let rest = length; rest > 127; rest >>>= 7) bytes++;
  return bytes + length;
}

export function sizeOfText(text: string): number {
  return sizeOfField(Buffer.byteLength(text));
}
