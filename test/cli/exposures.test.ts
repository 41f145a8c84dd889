import { expect, test } from "vitest";
import { exposures } from "../../src/cli/exposures.ts";

const tls = { certFile: "cert", keyFile: "key", caFile: "ca" };
const loopback = { address: "127.0.0.1", port: 1 };
const everywhere = { address: "0.0.0.0", port: 1 };

test.each([
  ["loopback", { xds: { ...loopback, tls: undefined }, http: { address: "::1", port: 1 } }, []],
  ["mutual TLS", { xds: { ...everywhere, tls }, http: loopback }, []],
  ["xDS without TLS", { xds: { ...everywhere, tls: undefined }, http: loopback }, [/^--insecure: .* private keys/]],
  ["the API", { xds: { ...loopback, tls: undefined }, http: everywhere }, [/^--http-address: .* all namespaces/]],
])("what is told of %s", (_, options, expected) => {
  expect(exposures(options)).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
});
