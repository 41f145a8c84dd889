import { expect, test } from "vitest";
import { normalizePath } from "../src/envoy/match.ts";

/** What Envoy 1.40 made of each path, asked over a raw socket with `normalize_path` set; undefined for its 400. */
const MEASURED: readonly (readonly [path: string, normalized: string | undefined])[] = [
  ["/", "/"],
  ["/a/../b", "/b"],
  ["/a/./b", "/a/b"],
  ["/a/..", "/"],
  ["/a/.", "/a/"],
  ["/../x", "/x"],
  ["/a//b", "/a//b"],
  ["/a//../b", "/a/b"],
  ["/a/%2e%2e/b", "/b"],
  ["/a/.%2E/b", "/b"],
  ["/a/%2e", "/a/"],
  ["/a\\..\\b", "/b"],
  ["/a%2Fb", "/a%2Fb"],
  ["/a%2fb", "/a%2fb"],
  ["/a%5cb", "/a%5cb"],
  ["/a?x=/../y", "/a?x=/../y"],
  ["/blog#f", undefined],
  ["/x/..%2fblog", "/x/..%2fblog"],
  ["/%62log", "/blog"],
  ["/a/...", "/a/..."],
  ["/a/..b", "/a/..b"],
  ["/a%", "/a%"],
  ["/a%2", "/a%2"],
  ["/a%zz", "/a%zz"],
  ["//", "//"],
  ["/a/b/../..", "/"],
  ["/a%7e%5f%2d", "/a~_-"],
  ["/..", "/"],
  ["/.", "/"],
  ["/a/./", "/a/"],
  ["/a/../", "/"],
  ["/a?b?c", "/a?b?c"],
  ["/a%3fb", "/a%3fb"],
  ["/a%00", undefined],
  ["/x/\\../y", "/x/y"],
  ["/a/;/../b", "/a/b"],
  ["", undefined],
  ["*", undefined],
  ['/a"<>^`{|}b', "/a%22%3C%3E%5E%60%7B%7C%7Db"],
  ["/a!$&'()*+,:;=@[]b", "/a!$&'()*+,:;=@[]b"],
  ["/ü", undefined],
  ["/a b", undefined],
];

for (const [path, normalized] of MEASURED) {
  test(`a path is normalised as Envoy does it: ${JSON.stringify(path)}`, () => {
    expect(normalizePath(path)).toBe(normalized);
  });
}
