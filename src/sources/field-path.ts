/**
 * Paths of fields as decoders write them (`ObjectReader.pathOf`): `spec.routes[2].match`, `metadata.annotations["a/b"]`.
 */
const LAST_STEP = /(?:(?:^|\.)[A-Za-z0-9_-]+|\[\d+\]|\["(?:[^"\\]|\\.)*"\])$/;

export function fieldOf(at: string, key: string): string {
  if (!/^[A-Za-z0-9_-]+$/.test(key)) return `${at}[${JSON.stringify(key)}]`;
  return at === "" ? key : `${at}.${key}`;
}

export function itemOf(at: string, index: number): string {
  return `${at}[${index}]`;
}

/** `path` seen from where `base` is the root. */
export function join(base: string, path: string): string {
  return base === "" || path === "" || path.startsWith("[") ? base + path : `${base}.${path}`;
}

/** The path without its last step; undefined for the root, and for a path that is none. */
export function parentOf(path: string): string | undefined {
  const step = LAST_STEP.exec(path);
  return step === null ? undefined : path.slice(0, step.index);
}
