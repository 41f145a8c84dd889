import { createSocket } from "node:dgram";
import { once } from "node:events";
import type { JsonObject } from "../../src/envoy/bootstrap.ts";

const LOOPBACK = "127.0.0.1";

/** Knows the IPv4 addresses that it is told, and no other names. */
export type NameServer = {
  readonly port: number;
  readonly tell: (name: string, address: string) => void;
  readonly stop: () => Promise<void>;
};

/** What is to be added to Envoy's bootstrap for it to look up names on this port of the loopback. */
export function lookingUpAt(port: number): JsonObject {
  return {
    typed_dns_resolver_config: {
      name: "envoy.network.dns_resolver.cares",
      typed_config: {
        "@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        resolvers: [{ socket_address: { protocol: "UDP", address: LOOPBACK, port_value: port } }],
      },
    },
  };
}

export async function startNameServer(): Promise<NameServer> {
  const addresses = new Map<string, string>();
  const socket = createSocket("udp4");
  socket.on("message", (query, { port, address }) => socket.send(answer(query, addresses), port, address));
  socket.bind(0, LOOPBACK);
  await once(socket, "listening");
  return {
    port: socket.address().port,
    tell: (name, address) => addresses.set(name.toLowerCase(), address),
    stop: async () => {
      const closed = once(socket, "close");
      socket.close();
      await closed;
    },
  };
}

const HEADER_BYTES = 12;
const TYPE_A = 1;
const NXDOMAIN = 3;

/** To a query with one question, as all are (RFC 1035, section 4.1). Nobody is to remember the answer. */
function answer(query: Buffer, addresses: ReadonlyMap<string, string>): Buffer {
  const labels: string[] = [];
  let at = HEADER_BYTES;
  for (let length = query.readUInt8(at); length > 0; length = query.readUInt8(at)) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  const question = query.subarray(HEADER_BYTES, at + 5);
  const address = addresses.get(labels.join(".").toLowerCase());
  const isAnswered = address !== undefined && query.readUInt16BE(at + 1) === TYPE_A;
  const header = Buffer.alloc(HEADER_BYTES);
  query.copy(header, 0, 0, 2);
  // An answer, to a query that wants recursion, by somebody who has it.
  header.writeUInt16BE(0x8180 | (address === undefined ? NXDOMAIN : 0), 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(isAnswered ? 1 : 0, 6);
  if (!isAnswered) return Buffer.concat([header, question]);
  // The name of the question, type A, class IN, to be kept for 0 seconds, four bytes.
  const record = Buffer.from([0xc0, HEADER_BYTES, 0, TYPE_A, 0, 1, 0, 0, 0, 0, 0, 4]);
  return Buffer.concat([header, question, record, Buffer.from(address.split(".").map(Number))]);
}
