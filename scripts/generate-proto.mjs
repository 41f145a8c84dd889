// Generates gen/ (JavaScript and types of the Envoy messages we use) from the .proto files that @grpc/grpc-js-xds ships
// and from our own in proto/. Run by `npm ci`; does nothing when gen/ is up to date.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PROJECT = fileURLToPath(new URL("..", import.meta.url));
const GEN = join(PROJECT, "gen");
const OWN_PROTOS = join(PROJECT, "proto");
const MODULES = join(PROJECT, "node_modules");
const PACKAGES = ["@grpc/grpc-js-xds", "@bufbuild/buf", "@bufbuild/protoc-gen-es"];

/** Folders of the packaged protos; what lies under each is named as in an import. */
const PACKAGED = ["envoy-api", "googleapis", "protoc-gen-validate", "xds"].map((name) =>
  join(MODULES, "@grpc/grpc-js-xds/deps", name),
);

/** What we use of Envoy's API: files or folders. Everything they import is generated too. */
const ROOTS = [
  "envoy/admin/v3/config_dump.proto",
  "envoy/config/bootstrap/v3",
  "envoy/config/cluster/v3",
  "envoy/config/core/v3",
  "envoy/config/endpoint/v3",
  "envoy/config/listener/v3",
  "envoy/config/overload/v3",
  "envoy/config/route/v3",
  "envoy/extensions/access_loggers/file/v3",
  "envoy/extensions/access_loggers/stream/v3",
  "envoy/extensions/common/matching/v3",
  "envoy/extensions/filters/common/matcher/action/v3",
  "envoy/extensions/filters/http/buffer/v3",
  "envoy/extensions/filters/http/lua/v3",
  "envoy/extensions/filters/http/router/v3",
  "envoy/extensions/filters/listener/tls_inspector/v3",
  "envoy/extensions/filters/network/connection_limit/v3",
  "envoy/extensions/filters/network/direct_response/v3",
  "envoy/extensions/filters/network/http_connection_manager/v3",
  "envoy/extensions/filters/network/set_filter_state/v3",
  "envoy/extensions/filters/network/tcp_proxy/v3",
  "envoy/extensions/http/early_header_mutation/header_mutation/v3",
  "envoy/extensions/matching/common_inputs/network/v3",
  "envoy/extensions/resource_monitors/downstream_connections/v3",
  "envoy/extensions/resource_monitors/fixed_heap/v3",
  "envoy/extensions/transport_sockets/tls/cert_mappers/sni/v3",
  "envoy/extensions/transport_sockets/tls/cert_selectors/on_demand_secret/v3",
  "envoy/extensions/transport_sockets/tls/v3",
  "envoy/extensions/upstreams/http/v3",
  "envoy/service/discovery/v3",
  "envoy/type/matcher/v3",
  "envoy/type/v3",
  "xds/type/matcher/v3",
];

/** Fields of newer versions of these files: by file, pairs of text to find and text to put behind it. */
const PATCHES = {
  // Used by Envoy's own annotations; buf refuses to compile them otherwise.
  "validate/validate.proto": [["message StringRules {", "optional bool ignore_empty = 26;"]],
  // On-demand certificates; the message it holds is in proto/.
  "envoy/extensions/transport_sockets/tls/v3/tls.proto": [
    ["message CommonTlsContext {", ".envoy.config.core.v3.TypedExtensionConfig custom_tls_certificate_selector = 16;"],
  ],
  // Takes the place of the field before it.
  "envoy/config/route/v3/route_components.proto": [
    [
      "google.protobuf.UInt32Value per_request_buffer_limit_bytes = 16;",
      "google.protobuf.UInt64Value request_body_buffer_limit = 20;",
    ],
  ],
  // Removal of headers by pattern.
  "envoy/config/common/mutation_rules/v3/mutation_rules.proto": [
    ['import "envoy/type/matcher/v3/regex.proto";', 'import "envoy/type/matcher/v3/string.proto";'],
    ["message HeaderMutation {", "message RemoveOnMatch { type.matcher.v3.StringMatcher key_matcher = 1; }"],
    ["core.v3.HeaderValueOption append = 2;", "RemoveOnMatch remove_on_match = 3;"],
  ],
};

try {
  const stamp = fingerprint();
  const stampFile = join(GEN, ".stamp");
  if (!existsSync(stampFile) || readFileSync(stampFile, "utf8") !== stamp) generate(stamp);
} catch (error) {
  console.error(`generate-proto: ${error.message}`);
  process.exitCode = 1;
}

/** A hash of everything gen/ is made from. */
function fingerprint() {
  const hash = createHash("sha256").update(readFileSync(fileURLToPath(import.meta.url)));
  for (const name of PACKAGES) {
    const manifest = join(MODULES, name, "package.json");
    if (!existsSync(manifest))
      throw new Error(`${name} is not installed: run npm ci with the development dependencies`);
    hash.update(`${name}@${JSON.parse(readFileSync(manifest, "utf8")).version}\n`);
  }
  for (const file of protoFiles(OWN_PROTOS)) hash.update(`${file}\n`).update(readFileSync(join(OWN_PROTOS, file)));
  return hash.digest("hex");
}

/** Works in a temporary folder and moves the finished result, so that an aborted run leaves no half of one. */
function generate(stamp) {
  const cache = join(MODULES, ".cache");
  mkdirSync(cache, { recursive: true });
  const temp = mkdtempSync(join(cache, "proto-"));
  try {
    const source = join(temp, "proto");
    const output = join(temp, "gen");
    for (const folder of [...PACKAGED, OWN_PROTOS]) {
      for (const file of protoFiles(folder)) copyProto(join(folder, file), join(source, file), PATCHES[file]);
    }
    runBuf(temp, source, output);
    writeFileSync(join(output, ".stamp"), stamp);
    if (existsSync(GEN)) renameSync(GEN, join(temp, "old"));
    renameSync(output, GEN);
  } finally {
    rmSync(temp, { recursive: true, force: true });
  }
}

function copyProto(from, to, patches = []) {
  let text = readFileSync(from, "utf8").replaceAll("\r", ""); // some of the packaged files have DOS line ends
  for (const [anchor, field] of patches) {
    if (!text.includes(anchor)) throw new Error(`${from} has no "${anchor}" to patch`);
    text = text.replace(anchor, `${anchor}\n  ${field}`);
  }
  mkdirSync(dirname(to), { recursive: true });
  writeFileSync(to, text);
}

function runBuf(temp, source, output) {
  const template = {
    version: "v2",
    plugins: [
      {
        local: ["node", join(MODULES, "@bufbuild/protoc-gen-es/bin/protoc-gen-es")],
        out: output,
        opt: ["target=js+dts", "import_extension=js"],
        include_imports: true,
      },
    ],
  };
  const templateFile = join(temp, "buf.gen.json");
  writeFileSync(templateFile, JSON.stringify(template));
  const paths = ROOTS.flatMap((root) => ["--path", join(source, root)]);
  const buf = spawnSync(
    process.execPath,
    [join(MODULES, "@bufbuild/buf/bin/buf"), "generate", source, "--template", templateFile, ...paths],
    { encoding: "utf8", env: { ...process.env, BUF_CACHE_DIR: temp } },
  );
  if (buf.error !== undefined) throw buf.error;
  if (buf.status !== 0) throw new Error(`buf failed: ${buf.stderr.trim().split("\n")[0]}`);
}

/** The .proto files under a folder, relative to it, sorted. Tests of the packages are left out: they compile only there. */
function protoFiles(folder) {
  if (!existsSync(folder)) throw new Error(`${folder} is missing`);
  return readdirSync(folder, { recursive: true })
    .filter((file) => file.endsWith(".proto") && !file.startsWith("tests/"))
    .sort();
}
