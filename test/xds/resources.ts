import type { Resource } from "../../src/xds/cache.ts";
import type { ResourceType } from "../../src/xds/type-urls.ts";

/**
 * What the bodies of these tests' resources hold, as JSON: the server must not care, and the model Envoy can read it.
 * `rev` makes versions differ, `poison` makes the model refuse it.
 */
export type Content = {
  readonly rev: number;
  readonly poison?: boolean;
  readonly clusters?: readonly string[];
  readonly loadAssignment?: string;
  /** A cluster with health checks: with its endpoints it warms for so long, unless the model says otherwise. */
  readonly firstCheckMs?: number;
};

const encoder = new TextEncoder();

export function resource(type: ResourceType, name: string, content: Content): Resource {
  const text = JSON.stringify(content);
  return {
    type,
    name,
    version: `v${text}`,
    body: encoder.encode(text),
    clusters: content.clusters ?? [],
    ...(content.loadAssignment === undefined ? {} : { loadAssignment: content.loadAssignment }),
    ...(content.firstCheckMs === undefined ? {} : { firstCheckMs: content.firstCheckMs }),
    origins: [`IngressRoute/default/${name}`],
  };
}

export function edsCluster(name: string, rev = 1, loadAssignment: string = name): Resource {
  return resource("cluster", name, { rev, loadAssignment });
}

export function assignment(name: string, rev = 1): Resource {
  return resource("loadAssignment", name, { rev });
}

export function scope(name: string, clusters: readonly string[], rev = 1): Resource {
  return resource("scopedRoute", name, { rev, clusters });
}

/** Stands for the real function, which writes the name into the Secret message. */
export function renameSecret(body: Uint8Array, name: string): Uint8Array {
  return encoder.encode(`${new TextDecoder().decode(body)} as ${name}`);
}
