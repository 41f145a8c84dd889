import { expect, test } from "vitest";
import { Translator } from "../../src/translate/translator.ts";
import { objects, serviceYaml } from "../objects.ts";
import { createAuthority } from "../parts/authority.ts";
import { testOptions } from "../settings.ts";

const { certPem, keyPem } = createAuthority("test").issue({ names: ["web.example.com"] });
const SECRET = `---
apiVersion: v1
kind: Secret
metadata: { name: cert }
type: kubernetes.io/tls
stringData: ${JSON.stringify({ "tls.crt": certPem, "tls.key": keyPem })}
`;

function root(...routes: readonly string[]): string {
  return `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: web }
spec: { virtualhost: { fqdn: web.example.com, tls: { secretName: cert } }, routes: [${routes.join(", ")}] }
`;
}

const route = (match: string, more = "") => `{ match: ${match}, services: [{ name: web, port: 80 }] ${more} }`;
const insecure = (match: string, more = "") => route(match, `, permitInsecure: true ${more}`);

function scopesAfter(before: string, after: string): readonly string[] {
  const translator = new Translator(testOptions({}));
  translator.apply(objects(serviceYaml("web") + SECRET + before));
  const { set } = translator.apply(objects(after)).resources;
  return set.flatMap(({ type, name }) => (type === "scopedRoute" ? [name] : []));
}

test("an edit of a route that the insecure port redirects is one scope", () => {
  const edited = route("/a", ", timeoutPolicy: { request: 1s }");
  expect(scopesAfter(root(route("/a"), route("/")), root(edited, route("/")))).toEqual(["s|web.example.com"]);
  expect(scopesAfter(root(route("/a")), root(route("/a"), route("/b")))).toEqual(["s|web.example.com"]);
  expect(scopesAfter(root(insecure("/a/b"), route("/a")), root(insecure("/a/b"), edited))).toEqual([
    "s|web.example.com",
  ]);
});

test("an edit of a route that both ports serve is both, and so is a redirect in front of one", () => {
  const both = ["h|web.example.com", "s|web.example.com"];
  const edited = insecure("/a", ", timeoutPolicy: { request: 1s }");
  expect(scopesAfter(root(insecure("/a")), root(edited))).toEqual(both);
  expect(scopesAfter(root(insecure("/a")), root(insecure("/a"), route("/a/b")))).toEqual(both);
});
