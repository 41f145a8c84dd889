import { expect, test } from "vitest";
import { describeRoutes } from "../../src/cli/describe-routes.ts";
import { translate } from "../../src/translate/translate.ts";
import { withCertificates } from "../cases.ts";
import { objects, rootYaml, serviceYaml } from "../objects.ts";
import { DEFAULT_SETTINGS, testOptions } from "../settings.ts";

const SECRET = `---
apiVersion: v1
kind: Secret
metadata: { name: cert }
type: kubernetes.io/tls
stringData: { tls.crt: <certificate a.test>, tls.key: <key a.test> }
${serviceYaml("web")}`;

function root(spec: string): string {
  return `---
apiVersion: contour.heptio.com/v1beta1
kind: IngressRoute
metadata: { name: a }
spec: { virtualhost: { fqdn: a.test, tls: { secretName: cert } }, ${spec} }
`;
}

function ingress(path: string, annotations: string, rest = ""): string {
  return `---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: { name: rules, annotations: { ${annotations} } }
spec:
  rules:
    - host: a.test
      http: { paths: [{ path: ${path}, pathType: Prefix, backend: { service: { name: web, port: { number: 80 } } } }] }
  ${rest}
`;
}

const REDIRECTS = 'ingress.kubernetes.io/force-ssl-redirect: "true"';

function linesOf(yaml: string): readonly string[] {
  const { hosts } = translate(objects(withCertificates(`${yaml}${SECRET}`)), testOptions(DEFAULT_SETTINGS));
  return hosts.flatMap((host) => describeRoutes(host, { httpPort: 80, httpsPort: 443 }, () => ""));
}

test("a host without TLS: its routes", () => {
  expect(linesOf(rootYaml("a", "a.test", "[{ match: /, services: [{ name: web, port: 80 }] }]"))).toEqual([
    "http://a.test:80/  default/web:80",
  ]);
});

test("an address with TLS: nobody gets to it there", () => {
  const yaml = root("routes: [{ match: /, services: [{ name: web, port: 80 }] }]").replace("a.test", "127.0.0.1");
  expect(linesOf(yaml)).toEqual(["http://127.0.0.1:80/  301 to https, where nothing is served"]);
  const tcp = root("tcpproxy: { services: [{ name: web, port: 80 }] }").replace("a.test", "127.0.0.1");
  expect(linesOf(tcp)).toEqual(["tls://127.0.0.1:443  closed, no client names an address in TLS"]);
});

test("a TLS host: its routes, and that all else is redirected", () => {
  const routes =
    "[{ match: /, services: [{ name: web, port: 80 }] }, { match: /b, services: [{ name: web, port: 80 }] }]";
  expect(linesOf(root(`routes: ${routes}`))).toEqual([
    "https://a.test:443/b  default/web:80",
    "https://a.test:443/   default/web:80",
    "http://a.test:80/     301 to https",
  ]);
});

test("a TLS host with routes in clear text: what is redirected beside them", () => {
  const routes = (insecure: string, secure: string) =>
    `[{ match: ${insecure}, permitInsecure: true, services: [{ name: web, port: 80 }] }, { match: ${secure}, services: [{ name: web, port: 80 }] }]`;
  expect(linesOf(root(`routes: ${routes("/b", "/")}`))).toEqual([
    "https://a.test:443/b  default/web:80",
    "http://a.test:80/b    default/web:80",
    "https://a.test:443/   default/web:80",
    "http://a.test:80/     301 to https",
  ]);
  expect(linesOf(root(`routes: ${routes("/", "/b")}`))).toEqual([
    "https://a.test:443/b  default/web:80",
    "http://a.test:80/b    301 to https",
    "https://a.test:443/   default/web:80",
    "http://a.test:80/     default/web:80",
  ]);
});

test("a TCP host: its connections, and what Ingresses have beside it on the insecure port", () => {
  const tcp = root("tcpproxy: { services: [{ name: web, port: 80 }] }");
  expect(linesOf(tcp)).toEqual(["tls://a.test:443  default/web:80"]);
  expect(linesOf(`${tcp}${ingress("/acme", "")}`)).toEqual([
    "tls://a.test:443       default/web:80",
    "http://a.test:80/acme  default/web:80",
  ]);
});

test("an Ingress that redirects: with a certificate, and without one", () => {
  const tls = "tls: [{ hosts: [a.test], secretName: cert }]";
  expect(linesOf(ingress("/b", REDIRECTS, tls))).toEqual([
    "https://a.test:443/b  default/web:80",
    "http://a.test:80/b    301 to https",
  ]);
  expect(linesOf(ingress("/b", REDIRECTS))).toEqual(["http://a.test:80/b  301 to https, where nothing is served"]);
});
