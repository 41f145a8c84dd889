import { open } from "node:fs/promises";
import { type ListedFile, reasonOf, signatureOf } from "./listing.ts";
import { decodeText, type Manifests, readManifests, unreadable } from "./manifests.ts";

export type FileRead =
  /** `signature` is that of the file that was read, which is another one if it was replaced since it was listed. */
  | { readonly kind: "read"; readonly signature: string; readonly manifests: Manifests }
  | { readonly kind: "failed"; readonly manifests: Manifests }
  /** The file changed while it was read: what was read never stood there as a whole. */
  | { readonly kind: "torn" };

/** Reads a file that was listed. Every failure is told as a problem with the file. */
export async function readManifestFile(path: string, listed: ListedFile): Promise<FileRead> {
  if (listed.kind === "unreadable") {
    return { kind: "read", signature: listed.signature, manifests: unreadable(path, `the file ${listed.why}`) };
  }
  try {
    const file = await open(path);
    try {
      const signature = signatureOf(await file.stat({ bigint: true }));
      const bytes = await file.readFile();
      if (signatureOf(await file.stat({ bigint: true })) !== signature) return { kind: "torn" };
      return { kind: "read", signature, manifests: readManifestBytes(path, bytes) };
    } finally {
      await file.close();
    }
  } catch (error) {
    return { kind: "failed", manifests: unreadable(path, `the file ${reasonOf(error)}`) };
  }
}

export function readManifestBytes(name: string, bytes: Uint8Array): Manifests {
  const decoded = decodeText(bytes);
  return decoded.ok ? readManifests(name, decoded.text) : unreadable(name, `the file ${decoded.why}`);
}
