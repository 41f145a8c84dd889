import { createHash, randomBytes } from "node:crypto";

/** The part of RFC 6455 that an echo needs: whole frames, no extensions. */
export type Frame = { readonly opcode: number; readonly payload: Buffer };

export const OPCODE = { text: 1, close: 8, ping: 9, pong: 10 } as const;

/** The answer to a client's `Sec-WebSocket-Key`. */
export function acceptKey(key: string): string {
  return createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
}

/** Clients must mask what they send, servers must not. */
export function encodeFrame({ opcode, payload }: Frame, from: "client" | "server"): Buffer {
  const header = [0x80 | opcode];
  const maskBit = from === "client" ? 0x80 : 0;
  const length = Buffer.alloc(8);
  if (payload.length < 126) header.push(maskBit | payload.length);
  else if (payload.length < 65_536) {
    length.writeUInt16BE(payload.length);
    header.push(maskBit | 126, ...length.subarray(0, 2));
  } else {
    length.writeBigUInt64BE(BigInt(payload.length));
    header.push(maskBit | 127, ...length);
  }
  if (from === "server") return Buffer.concat([Buffer.from(header), payload]);
  const mask = randomBytes(4);
  return Buffer.concat([Buffer.from(header), mask, masked(payload, mask)]);
}

/** Puts frames together from what arrives. */
export class FrameReader {
  #rest = Buffer.alloc(0);

  push(chunk: Buffer): readonly Frame[] {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    const frames: Frame[] = [];
    for (;;) {
      const read = readFrame(this.#rest);
      if (read === undefined) return frames;
      frames.push(read.frame);
      this.#rest = this.#rest.subarray(read.length);
    }
  }
}

function readFrame(bytes: Buffer): { readonly frame: Frame; readonly length: number } | undefined {
  if (bytes.length < 2) return undefined;
  const short = bytes.readUInt8(1) & 0x7f;
  const isMasked = (bytes.readUInt8(1) & 0x80) !== 0;
  const lengthBytes = short === 126 ? 2 : short === 127 ? 8 : 0;
  const start = 2 + lengthBytes + (isMasked ? 4 : 0);
  if (bytes.length < start) return undefined;
  const length =
    lengthBytes === 0 ? short : lengthBytes === 2 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
  if (bytes.length < start + length) return undefined;
  const body = bytes.subarray(start, start + length);
  const payload = isMasked ? masked(body, bytes.subarray(start - 4, start)) : Buffer.from(body);
  return { frame: { opcode: bytes.readUInt8(0) & 0x0f, payload }, length: start + length };
}

function masked(payload: Buffer, mask: Buffer): Buffer {
  return Buffer.from(payload.map((byte, i) => byte ^ mask.readUInt8(i % 4)));
}
