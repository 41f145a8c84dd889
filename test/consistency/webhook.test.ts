import { expect, test } from "vitest";
import { KINDS } from "../../src/api/kinds.ts";
import { REVIEW_PATH } from "../../src/webhook/review-server.ts";
import { deployed } from "../parts/deploy.ts";

const objects = deployed("webhook.yaml");
const [configuration] = objects.filter(({ kind }) => kind === "ValidatingWebhookConfiguration");
const [service] = objects.filter(({ kind }) => kind === "Service");
const { webhooks } = Object(configuration);

test("the webhooks never stand in the way of anybody", () => {
  expect(webhooks).toHaveLength(2);
  for (const webhook of webhooks) {
    expect(webhook).toMatchObject({
      failurePolicy: "Ignore",
      timeoutSeconds: 2,
      matchPolicy: "Equivalent",
      sideEffects: "None",
      admissionReviewVersions: ["v1"],
      clientConfig: {
        service: { name: service?.metadata.name, namespace: service?.metadata.namespace, path: REVIEW_PATH, port: 443 },
      },
    });
    expect(webhook.clientConfig).not.toHaveProperty("caBundle");
  }
});

test("they are asked about the kinds that are written for us, in the version that is read, and not about statuses", () => {
  const asked = webhooks.flatMap(({ rules }: { readonly rules: readonly Rule[] }) =>
    rules.flatMap(({ apiGroups, apiVersions, resources, operations }) => {
      expect(operations).toEqual(["CREATE", "UPDATE"]);
      return apiGroups.flatMap((group) =>
        apiVersions.flatMap((version) => resources.map((resource) => `${group}/${version} ${resource}`)),
      );
    }),
  );
  const written = KINDS.filter(({ kind }) => ["IngressRoute", "TLSCertificateDelegation", "Ingress"].includes(kind));
  expect(asked.sort()).toEqual(written.map(({ apiVersions, plural }) => `${apiVersions[0]} ${plural}`).sort());
});

type Rule = Readonly<Record<"apiGroups" | "apiVersions" | "resources" | "operations", readonly string[]>>;
