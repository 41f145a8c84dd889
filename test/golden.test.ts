import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";
import { matchesRegex } from "../src/controller/regexes.ts";
import { matchRequest, type RequestAnswer } from "../src/envoy/match.ts";
import type { Resource } from "../src/envoy/resource.ts";
import { translate } from "../src/translate/translate.ts";
import { type Case, loadCases, splitRequest } from "./cases.ts";
import { envoyForm } from "./envoy-form.ts";
import { testOptions } from "./settings.ts";
import { statusesOf } from "./statuses.ts";

const UPDATE = process.env.UPDATE_GOLDEN === "1";

for (const each of loadCases()) {
  test(`case ${each.name}`, () => {
    const translation = translate(each.changes, testOptions(each.options));
    compare(join(each.folder, "expected/status.yaml"), statusesOf(translation));
    const envoy = join(each.folder, "expected/envoy.yaml");
    if (existsSync(envoy)) compare(envoy, envoyForm(translation.resources.filter(({ type }) => type !== "listener")));
    const idle = idleServices(each, translation.resources);
    for (const expected of each.requests) {
      // The matcher knows requests, not what they travel in.
      if (expected.tlsVersion !== undefined || expected.websocket === true) continue;
      const answer = answerOf(matchRequest(translation.resources, splitRequest(expected), matchesRegex), idle);
      if ("weights" in expected) {
        const path = expected.path === undefined ? {} : { path: answer.path };
        const wanted = inLowestTerms(expected.weights);
        expect({ ...expected, weights: answer.weights, ...path }).toEqual({ ...expected, weights: wanted });
      } else if ("handshake" in expected) {
        expect({ ...expected, handshake: answer.handshake }).toEqual(expected);
      } else expect({ ...expected, status: answer.status }).toEqual(expected);
    }
  });
}

function compare(file: string, actual: unknown): void {
  if (UPDATE) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, stringify(actual, { lineWidth: 0 }));
  }
  if (!existsSync(file)) throw new Error(`${file} is missing: UPDATE_GOLDEN=1 writes it, for you to read`);
  expect(parse(readFileSync(file, "utf8"))).toEqual(actual);
}

/** Services that have EndpointSlices in the case and still nothing to send to, as `namespace/name`. */
function idleServices({ changes }: Case, resources: readonly Resource[]): ReadonlySet<string> {
  const idle = new Set<string>();
  for (const change of changes) {
    if (change.kind !== "applied" || change.object.kind !== "EndpointSlice") continue;
    const service = `${change.object.metadata.namespace}/${change.object.service}`;
    const assignments = resources.filter(
      ({ type, name }) => type === "loadAssignment" && name.startsWith(`${service}/`),
    );
    if (assignments.every((assignment) => JSON.stringify(envoyForm([assignment])).includes("endpoints") === false)) {
      idle.add(service);
    }
  }
  return idle;
}

type Answer = {
  readonly status?: number;
  readonly handshake?: "fails";
  readonly weights?: Readonly<Record<string, number>>;
  readonly path?: string;
};

/** The answer in the words of requests.yaml: clusters without their hash, weights in lowest terms. */
function answerOf(answer: RequestAnswer, idle: ReadonlySet<string>): Answer {
  if (answer.kind === "refused") return { handshake: "fails" };
  if (answer.kind === "status") return { status: answer.status };
  const weights = new Map<string, number>();
  for (const { name, weight } of answer.clusters) {
    const [namespace, service, port] = name.split("/");
    const isIdle = service === undefined || idle.has(`${namespace}/${service}`);
    const known = isIdle ? "unavailable" : `${namespace}/${service}/${port}`;
    weights.set(known, (weights.get(known) ?? 0) + weight);
  }
  if (weights.size === 1 && weights.has("unavailable")) return { status: 503 };
  return { weights: inLowestTerms(Object.fromEntries(weights)), path: answer.path };
}

function inLowestTerms(weights: Readonly<Record<string, number>>): Readonly<Record<string, number>> {
  const divisor = Object.values(weights).reduce(greatestCommonDivisor, 0) || 1;
  return Object.fromEntries(Object.entries(weights).map(([name, weight]) => [name, weight / divisor]));
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
