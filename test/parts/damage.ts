import { type DerValue, readDer } from "../../src/controller/der.ts";
import * as der from "./der.ts";
import type { Random } from "./random.ts";

// Ways to spoil a PEM block at random.

/** The block with one byte changed, left out or doubled. */
export function damaged(pem: string, random: Random): string {
  const { label, body } = blockOf(pem);
  return der.pem(label, damagedBytes(body, random));
}

/**
 * The block with one of its values changed: another tag, another body, a part left out, doubled or moved. All lengths are
 * right, so that nothing but the change is wrong with it.
 */
export function reshaped(pem: string, random: Random): string {
  const { label, body } = blockOf(pem);
  const value = readDer(body);
  if (value === undefined) throw new Error("the block is not DER");
  const root = nodeOf(value);
  const nodes = descendants(root);
  change(pick(nodes, random), random);
  return der.pem(label, encode(root));
}

function damagedBytes(body: Buffer, random: Random): Buffer {
  const at = Math.floor(random() * body.length);
  const byte = body.readUInt8(at);
  const parts = [Buffer.of(byte ^ (1 << Math.floor(random() * 8))), Buffer.of(), Buffer.of(byte, byte)];
  const part = parts[Math.floor(random() * 5)] ?? Buffer.of(Math.floor(random() * 256));
  return Buffer.concat([body.subarray(0, at), part, body.subarray(at + 1)]);
}

/** A value with parts, or with `bytes`. What stands inside of a string of bytes and is DER again counts as its parts. */
type Node = { tag: number; bytes: Buffer; lead: Buffer; parts: Node[] | undefined };

const OCTETS = 0x04;
const BITS = 0x03;

function nodeOf({ tag, body, children }: DerValue): Node {
  const node: Node = { tag, bytes: Buffer.from(body), lead: Buffer.of(), parts: undefined };
  if (children.length > 0) return { ...node, parts: children.map(nodeOf) };
  const skipped = tag === BITS ? 1 : 0;
  const inner = tag === OCTETS || tag === BITS ? readDer(body.subarray(skipped)) : undefined;
  return inner === undefined ? node : { ...node, lead: node.bytes.subarray(0, skipped), parts: [nodeOf(inner)] };
}

function encode({ tag, bytes, lead, parts }: Node): Buffer {
  return parts === undefined ? der.tagged(tag, bytes) : der.tagged(tag, lead, ...parts.map(encode));
}

function descendants(node: Node): Node[] {
  return [node, ...(node.parts ?? []).flatMap(descendants)];
}

const TAGS = [0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x0c, 0x13, 0x14, 0x16, 0x1e, 0x30, 0x31, 0x80, 0xa0, 0xa1, 0xa3];

function change(node: Node, random: Random): void {
  const { parts } = node;
  const changes = [
    () => {
      node.tag = pick(TAGS, random);
    },
    () => {
      if (parts === undefined) node.bytes = node.bytes.length === 0 ? Buffer.of(0) : damagedBytes(node.bytes, random);
      else parts.splice(Math.floor(random() * parts.length), 1);
    },
    () => {
      if (parts === undefined) node.bytes = Buffer.concat([Buffer.of(Math.floor(random() * 256)), node.bytes]);
      else parts.push(pick(parts, random));
    },
    () => {
      if (parts === undefined) node.bytes = Buffer.of();
      else parts.reverse();
    },
    () => {
      if (parts === undefined) node.bytes = node.bytes.map((byte) => byte ^ (random() < 0.05 ? 1 : 0)) as Buffer;
      else node.parts = [];
    },
  ];
  pick(changes, random)();
}

function pick<T>(values: readonly T[], random: Random): T {
  const value = values[Math.floor(random() * values.length)];
  if (value === undefined) throw new Error("nothing to pick from");
  return value;
}

function blockOf(pem: string): { readonly label: string; readonly body: Buffer } {
  const [first = "", ...rest] = pem.trimEnd().split("\n");
  return {
    label: first.slice("-----BEGIN ".length, -"-----".length),
    body: Buffer.from(rest.slice(0, -1).join(""), "base64"),
  };
}
