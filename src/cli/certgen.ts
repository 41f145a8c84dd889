import { writeFile } from "node:fs/promises";
import { toYaml } from "../sources/yaml-text.ts";
import { newAuthority } from "../webhook/issue.ts";
import { UsageError } from "./flags.ts";

/** `file` may be "-" for standard output. */
export type CertgenOptions = { readonly file: string; readonly namespace: string; readonly days: number };

/** The Service that Envoys reach the controller by. */
const XDS_SERVICE = "isoline-xds";
const DAY_MS = 24 * 60 * 60 * 1000;

/** Writes two Secrets: what the controller and what its Envoys need to trust each other and nobody else on the xDS port. */
export async function run({ file, namespace, days }: CertgenOptions): Promise<number> {
  const lifetimeMs = days * DAY_MS;
  const authority = await newAuthority({ name: "Isoline xDS authority", nowMs: Date.now(), lifetimeMs });
  const names = [XDS_SERVICE, `${XDS_SERVICE}.${namespace}`, `${XDS_SERVICE}.${namespace}.svc`];
  // An Envoy that is taken over cannot pose as the controller: its certificate is good for a client only.
  const sides = [
    { name: "isoline-xds-controller", ...(await authority.issue({ name: "Isoline", names, usage: "serverAuth" })) },
    {
      name: "isoline-xds-envoy",
      ...(await authority.issue({ name: "Envoy of Isoline", names: ["isoline-envoy"], usage: "clientAuth" })),
    },
  ];
  const secrets = sides.map(({ name, certificatePem, key }) =>
    toYaml({
      apiVersion: "v1",
      kind: "Secret",
      metadata: { name, namespace },
      // Not kubernetes.io/tls: it is no certificate for anybody's host.
      type: "Opaque",
      stringData: { "tls.crt": certificatePem, "tls.key": key.reveal(), "ca.crt": authority.certificatePem },
    }),
  );
  const text = secrets.join("---\n");
  if (file === "-") process.stdout.write(text);
  else if (!(await writeNew(file, text))) throw new UsageError(`${file} exists: move it away, or name another file`);
  return 0;
}

/** Keeps its hands off a file that exists: others may read it, and what it holds may be in use. Returns whether it was written. */
async function writeNew(file: string, text: string): Promise<boolean> {
  try {
    await writeFile(file, text, { mode: 0o600, flag: "wx" });
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}
