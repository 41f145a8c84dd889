import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "yaml";
import type { ObjectChange } from "../src/api/kinds.ts";
import type { Settings } from "../src/controller/settings.ts";
import type { HttpRequest } from "../src/envoy/match.ts";
import { readManifests } from "../src/sources/manifests.ts";
import { rawObjects } from "./objects.ts";
import { createAuthority, type Identity } from "./parts/authority.ts";
import type { KubeObject } from "./parts/kube-admin.ts";
import { manyLarge } from "./parts/odd-certificates.ts";
import { DEFAULT_SETTINGS } from "./settings.ts";

/** One folder of test/cases: what a user applies, and what is to come of it. */
export type Case = {
  /** `area/case`. */
  readonly name: string;
  readonly folder: string;
  readonly options: CaseOptions;
  /** In the order of the documents of input.yaml. Frozen all the way down. */
  readonly changes: readonly ObjectChange[];
  /** The same objects as they are written. */
  readonly raw: readonly KubeObject[];
  /** What status.yaml says; undefined while there is none. */
  readonly statuses: unknown;
  readonly requests: readonly ExpectedRequest[];
};

/** What options.yaml may say. */
export type CaseOptions = Omit<Settings, "envoy">;

/**
 * `request` is a host and a path, `shop.example.com/blog/new/1`, after `https://` if it goes to the secure port; the server
 * name is the host's then, unless `serverName` says otherwise.
 */
export type ExpectedRequest = {
  readonly request: string;
  readonly serverName?: string;
  readonly method?: string;
  /** Sent with the request. */
  readonly headers?: Readonly<Record<string, string>>;
  /** HTTP/1.1 otherwise. */
  readonly http2?: boolean;
  /** The only version that the client speaks: "1.2", for one. */
  readonly tlsVersion?: string;
  /** Asks for an upgrade, and exchanges a message when it is granted. */
  readonly websocket?: boolean;
  /** Among the headers of the answer. */
  readonly answerHeaders?: Readonly<Record<string, string>>;
} & (
  | { readonly status: number }
  | { readonly handshake: "fails"; readonly status?: never }
  | {
      /** By `namespace/service/port`, or `unavailable` for the share that answers 503; relative to each other. */
      readonly weights: Readonly<Record<string, number>>;
      /** The path as the backend sees it, where the case is about that. */
      readonly path?: string;
      /** More of what the backend sees: a part of what test/parts/backends.ts calls Seen. */
      readonly seen?: Readonly<Record<string, unknown>>;
      /** What is answered where Envoy gives the backend up, because it cannot be trusted for one. */
      readonly status?: number;
    }
);

const CASES = fileURLToPath(new URL("cases", import.meta.url));
const FILES = ["input.yaml", "options.yaml", "expected"];
const EXPECTED_FILES = ["status.yaml", "requests.yaml", "envoy.yaml"];

export function loadCases(): readonly Case[] {
  return subfolders(CASES).flatMap((area) => subfolders(join(CASES, area)).map((name) => loadCase(`${area}/${name}`)));
}

export function splitRequest({ request, serverName }: Pick<ExpectedRequest, "request" | "serverName">): HttpRequest {
  const isSecure = request.startsWith("https://");
  const plain = isSecure ? request.slice("https://".length) : request;
  const slash = plain.indexOf("/");
  const [host, path] = slash < 0 ? [plain, "/"] : [plain.slice(0, slash), plain.slice(slash)];
  return isSecure ? { host, path, serverName: serverName ?? host } : { host, path };
}

function loadCase(name: string): Case {
  const folder = join(CASES, name);
  refuseOthers(folder, FILES);
  refuseOthers(join(folder, "expected"), EXPECTED_FILES);
  const input = withCertificates(withNumbers(readFileSync(join(folder, "input.yaml"), "utf8")));
  if (!/^# \S/.test(input))
    throw new Error(`${name}: the first line of input.yaml says in a comment what the case shows`);
  const { documents, problems } = readManifests("input.yaml", input);
  for (const { place, severity, text } of problems) {
    if (severity === "error") throw new Error(`${name}: input.yaml:${place.line}:${place.column}: ${text}`);
  }
  return {
    name,
    folder,
    options: readOptions(name, readYaml(join(folder, "options.yaml"))),
    changes: documents.map(({ key, object }) => freeze({ kind: "applied", key, object })),
    raw: freeze(rawObjects(input)),
    statuses: readYaml(join(folder, "expected", "status.yaml")),
    requests: readRequests(name, readYaml(join(folder, "expected", "requests.yaml"))),
  };
}

/** A line with `<1-1000>` stands there once for each of the numbers, which is in all its places of that line. */
function withNumbers(yaml: string): string {
  const lines = yaml.split("\n").flatMap((line) => {
    const [placeholder, first, last] = /<(\d+)-(\d+)>/.exec(line) ?? [];
    if (placeholder === undefined) return [line];
    const count = Number(last) - Number(first) + 1;
    return Array.from({ length: count }, (_, i) => line.replaceAll(placeholder, String(Number(first) + i)));
  });
  return lines.join("\n");
}

const authority = createAuthority("cases");
const identities = new Map<string, Identity>();

/** The certificate of every backend that speaks TLS, issued by `<authority>`. */
export function backendIdentity(): Identity {
  return identityFor("backend.example.com *.backend.example.com");
}

function identityFor(names: string): Identity {
  const identity = identities.get(names) ?? authority.issue({ names: names.split(" ") });
  identities.set(names, identity);
  return identity;
}

/**
 * No key is kept in the repository: `<certificate NAMES>` and `<key NAMES>`, names separated by blanks, stand for those of
 * one certificate, `<authority>` for the one that issued them all, `<authority and 300 KB of words>` and
 * `<authority and 12 more>` for what else may stand beside it; of the latter each has 20 KB.
 */
export function withCertificates(yaml: string): string {
  return yaml.replace(/<(certificate|key|authority and) ([^<>]+)>|<authority>/g, (_, what?: string, about?: string) => {
    if (what === undefined || about === undefined) return JSON.stringify(authority.rootPem);
    if (what === "authority and") return JSON.stringify(authority.rootPem + authoritiesBeside(about));
    const identity = identityFor(about);
    return JSON.stringify(what === "key" ? identity.keyPem : identity.certPem);
  });
}

function authoritiesBeside(what: string): string {
  const [, number, unit] = /^(\d+) (KB of words|more)$/.exec(what) ?? [];
  if (unit === "more") return manyLarge(Number(number));
  if (unit === undefined) throw new Error(`nobody knows an authority and ${what}`);
  return `${"# Nothing to see here.\n".repeat((Number(number) * 1000) / 23)}${authority.rootPem}`;
}

function subfolders(folder: string): readonly string[] {
  const entries = readdirSync(folder, { withFileTypes: true });
  const stray = entries.find((entry) => !entry.isDirectory());
  if (stray !== undefined) throw new Error(`${join(folder, stray.name)} belongs to no case`);
  return entries.map((entry) => entry.name).sort();
}

function refuseOthers(folder: string, known: readonly string[]): void {
  if (!existsSync(folder)) return;
  const unknown = readdirSync(folder).find((file) => !known.includes(file));
  if (unknown !== undefined) throw new Error(`${join(folder, unknown)} is no file of a case`);
}

function readYaml(file: string): unknown {
  return existsSync(file) ? parse(readFileSync(file, "utf8")) : undefined;
}

function readOptions(name: string, raw: unknown): CaseOptions {
  const { envoy: _, ...defaults } = DEFAULT_SETTINGS;
  const given = raw === undefined ? {} : recordOf(raw, name);
  const unknown = Object.keys(given).find((key) => !(key in defaults));
  if (unknown !== undefined) throw new Error(`${name}: options.yaml: ${unknown} is no option`);
  return { ...defaults, ...given };
}

/** The lines of a requests.yaml; `name` is whose they are, for errors. */
export function readRequests(name: string, raw: unknown): readonly ExpectedRequest[] {
  if (raw === undefined) return [];
  if (!Array.isArray(raw) || raw.length === 0) throw new Error(`${name}: requests.yaml is a list with something in it`);
  return raw.map((item): ExpectedRequest => {
    const line = recordOf(item, name);
    const wrong = () => new Error(`${name}: requests.yaml: cannot read ${JSON.stringify(item)}`);
    const optional = <T>(key: string, read: (value: unknown) => T | undefined): { readonly [k: string]: T } => {
      if (line[key] === undefined) return {};
      const value = read(line[key]);
      if (value === undefined) throw wrong();
      return { [key]: value };
    };
    const texts = (value: unknown): Readonly<Record<string, string>> =>
      Object.fromEntries(Object.entries(recordOf(value, name)).map(([key, text]) => [key, String(text)]));
    const answers = ["handshake", "cluster", "weights"].filter((key) => line[key] !== undefined);
    if (line.status !== undefined && answers.length === 0) answers.push("status");
    const request = textOf(line.request);
    if (request === undefined || answers.length !== 1) throw wrong();
    if (Object.keys(line).some((key) => !LINE_KEYS.includes(key))) throw wrong();
    const asked = {
      request,
      ...optional("serverName", textOf),
      ...optional("method", textOf),
      ...optional("headers", texts),
      ...optional("http2", flagOf),
      ...optional("tlsVersion", textOf),
      ...optional("websocket", flagOf),
      ...optional("answerHeaders", texts),
    };
    const aboutBackend = {
      ...optional("path", textOf),
      ...optional("seen", (value) => recordOf(value, name)),
      ...optional("status", numberOf),
    };
    const { status, handshake, cluster, weights } = line;
    if (typeof cluster === "string") return { ...asked, weights: { [cluster]: 1 }, ...aboutBackend };
    if (weights !== undefined) return { ...asked, weights: numbersOf(weights, name), ...aboutBackend };
    if (line.path !== undefined || line.seen !== undefined) throw wrong();
    if (handshake === "fails" && status === undefined) return { ...asked, handshake };
    if (typeof status === "number") return { ...asked, status };
    throw wrong();
  });
}

const LINE_KEYS: readonly string[] = [
  ...["request", "serverName", "method", "headers", "http2", "tlsVersion", "websocket", "answerHeaders"],
  ...["status", "handshake", "cluster", "weights", "path", "seen"],
];

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === "number" ? value : undefined;
}

function flagOf(value: unknown): boolean | undefined {
  return typeof value === "boolean" ? value : undefined;
}

function numbersOf(value: unknown, name: string): Readonly<Record<string, number>> {
  const entries = Object.entries(recordOf(value, name)).map(([key, number]): [string, number] => {
    if (typeof number !== "number") throw new Error(`${name}: ${key} needs a number`);
    return [key, number];
  });
  return Object.fromEntries(entries);
}

function recordOf(value: unknown, name: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Error(`${name}: not a mapping`);
  return Object.fromEntries(Object.entries(value));
}

function freeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.freeze(value);
  for (const part of Object.values(value)) freeze(part);
  return value;
}
