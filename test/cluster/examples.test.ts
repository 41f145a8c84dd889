import { afterAll, beforeAll, expect, test } from "vitest";
import { expectAnswer } from "../envoy/answers.ts";
import { describeWithEnvoy } from "../envoy/suite.ts";
import { loadExamples } from "../examples.ts";
import { objects, rawObjects } from "../objects.ts";
import { type ApiServer, adminOf, startApiServer } from "../parts/api-server.ts";
import { createAuthority } from "../parts/authority.ts";
import { installDefinitions } from "../parts/deploy.ts";
import { collectionPath, type KubeAdmin, type KubeObject } from "../parts/kube-admin.ts";
import { statusesOf } from "../statuses.ts";
import { type ClusterIsoline, startClusterIsoline } from "./isoline.ts";
import { Pods } from "./pods.ts";
import { expectStatuses } from "./statuses.ts";

/** What an API server makes of a list for people to read. */
type Table = {
  readonly columnDefinitions: readonly { readonly name: string }[];
  readonly rows: readonly { readonly cells: readonly unknown[] }[];
};

const EXAMPLES = loadExamples();

/** What is not valid, on purpose. */
const MISTAKES: Readonly<Record<string, readonly [status: string, description: RegExp]>> = {
  "default/circus-acts": ["invalid", /delegation makes a cycle/],
  "default/forgotten": ["orphaned", /^no root IngressRoute delegates to this one/],
  "default/garage-parts": ["invalid", /"\/wheels"/],
  "default/garage-too": ["invalid", /"garage.example.com" is held by the IngressRoute "default\/garage"/],
  "default/library": ["invalid", /"catalogue": no such Service/],
  "default/nameless": ["invalid", /fqdn/],
  "default/theatre": ["invalid", /weight must be greater than or equal to zero/],
};

describeWithEnvoy("the examples, applied to a cluster", (binary) => {
  const authority = createAuthority("examples");
  let server: ApiServer;
  let admin: KubeAdmin;
  let pods: Pods;
  let isoline: ClusterIsoline;

  beforeAll(async () => {
    // One of its own: others make objects in the shared one.
    server = await startApiServer();
    admin = adminOf(server);
    await installDefinitions(admin);
    pods = await Pods.start(authority.issue({ names: ["ledger.internal.example.com"] }));
    isoline = await startClusterIsoline({ binary, server, admin, pods });
    const text = EXAMPLES.map((example) => example.text).join("\n---\n");
    const written = await pods.reachable({ raw: rawObjects(text), changes: objects(text) });
    await isoline.replace(written.map((object) => withAuthority(object, authority.rootPem)));
  });
  afterAll(async () => {
    expect(await isoline.envoy().rejected()).toBe(0);
    await isoline.stop();
    await pods.stop();
    await admin.close();
    await server.stop();
  });

  test.each(EXAMPLES)("$file", async ({ requests }) => {
    for (const expected of requests) await expectAnswer(isoline, expected);
  });

  test("each object says of itself whether it is in order", async () => {
    const told = statusesOf(isoline.running().controller.translator.current());
    await expectStatuses(admin, told);
    const mistakes = told.filter(({ currentStatus }) => currentStatus !== undefined && currentStatus !== "valid");
    expect(mistakes.map(({ object, currentStatus, description }) => [object, currentStatus, description])).toEqual(
      Object.entries(MISTAKES).map(([name, [status, words]]) => [
        `IngressRoute/${name}`,
        status,
        expect.stringMatching(words),
      ]),
    );
  });

  test("a list shows whom an IngressRoute serves, with which certificate, and whether it is in order", async () => {
    const { columnDefinitions, rows } = await admin.request<Table>({
      method: "GET",
      path: collectionPath("IngressRoute"),
      accept: "application/json;as=Table;g=meta.k8s.io;v=v1",
    });
    const names = columnDefinitions.map(({ name }) => name);
    expect(names).toEqual(["Name", "FQDN", "TLS Secret", "Status", "Status Description"]);
    const { items } = await admin.list("IngressRoute");
    const cells = items.map(({ metadata: { name }, spec, status }) => {
      const { fqdn = null, tls } = Object(spec).virtualhost ?? {};
      const { currentStatus, description } = Object(status);
      return [name, fqdn, tls?.secretName ?? null, currentStatus, description];
    });
    expect(rows.map((row) => row.cells)).toEqual(cells);
    expect(cells).toContainEqual([
      ...["vault", "vault.example.com", "vault-certificate"],
      ...["valid", "valid IngressRoute"],
    ]);
    expect(cells).toContainEqual(["forgotten", null, null, "orphaned", expect.stringMatching(/^no root/)]);
  });
});

/** The authority of the example upstream-tls.yaml is nobody's, and here there is a backend with a certificate. */
function withAuthority(object: KubeObject, authorityPem: string): KubeObject {
  if (object.kind !== "Secret" || object.metadata.name !== "ledger-authority") return object;
  return { ...object, data: undefined, stringData: { "ca.crt": authorityPem } };
}
