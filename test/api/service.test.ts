import { expect, test } from "vitest";
import { decodeService } from "../../src/api/service.ts";

test("a Service keeps the annotations that tell how to talk to it, as they were written", () => {
  const { annotations, notes } = decodeService({
    apiVersion: "v1",
    kind: "Service",
    metadata: {
      namespace: "default",
      name: "web",
      annotations: {
        "contour.heptio.com/upstream-protocol.tls": "443,https",
        "projectcontour.io/upstream-protocol.h2": "444",
        "contour.heptio.com/upstream-protocol.h2c": " 80 ,",
        "contour.heptio.com/max-connections": "-1",
        "projectcontour.io/max-pending-requests": "10",
        "contour.heptio.com/max-requests": "11",
        "contour.heptio.com/max-retries": "1",
        "projectcontour.io/max-retries": "2",
        "prometheus.io/scrape": "true",
      },
    },
    spec: { ports: [{ port: 443 }] },
  });
  expect(annotations).toEqual({
    "upstream-protocol.tls": { key: "contour.heptio.com/upstream-protocol.tls", value: "443,https" },
    "upstream-protocol.h2": { key: "projectcontour.io/upstream-protocol.h2", value: "444" },
    "upstream-protocol.h2c": { key: "contour.heptio.com/upstream-protocol.h2c", value: " 80 ," },
    "max-connections": { key: "contour.heptio.com/max-connections", value: "-1" },
    "max-pending-requests": { key: "projectcontour.io/max-pending-requests", value: "10" },
    "max-requests": { key: "contour.heptio.com/max-requests", value: "11" },
    "max-retries": { key: "projectcontour.io/max-retries", value: "2" },
  });
  expect(notes).toEqual({
    faults: [],
    warnings: [
      {
        at: 'metadata.annotations["contour.heptio.com/max-retries"]',
        reason: "does nothing beside projectcontour.io/max-retries",
      },
    ],
  });
});

test("a Service without annotations has none", () => {
  expect(decodeService({ spec: {} }).annotations).toEqual({});
});

test("a port with a name that no API server would take is not there", () => {
  const ports = [
    { port: 80, name: "x".repeat(63) },
    { port: 81, name: "x".repeat(64) },
  ];
  const service = decodeService({ apiVersion: "v1", kind: "Service", metadata: { name: "web" }, spec: { ports } });
  expect(service.ports.map(({ port }) => port)).toEqual([80]);
  expect(service.notes.faults).toEqual([{ at: "spec.ports[1].name", reason: "must be at most 63 characters long" }]);
});
