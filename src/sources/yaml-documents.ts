import type { Alias, CST, Document, Tags, YAMLMap } from "yaml";
import { Composer, isAlias, isMap, isScalar, isSeq, Lexer, LineCounter, Parser, visit } from "yaml";
import { fieldOf, itemOf, parentOf } from "./field-path.ts";
import type { FieldPart } from "./source.ts";
import { syntaxErrorInWords } from "./yaml-errors.ts";

export type LineColumn = { readonly line: number; readonly column: number };

/** One document as plain data, and where its fields are written. A document that is nothing but comments is null. */
export type YamlDocument = {
  readonly kind: "document";
  readonly value: unknown;
  readonly locate: (fieldPath: string, part: FieldPart) => LineColumn;
};

export type YamlMistake = { readonly kind: "mistake"; readonly at: LineColumn; readonly text: string };

/** Far more than any API nests. The composer calls itself for each level, and deep in its stack V8 does not throw but aborts. */
const MAX_DEPTH = 256;
/** Values that come from aliases, all of a document taken together. Ten nested aliases can stand for more than fits a memory. */
const MAX_ALIASED_VALUES = 100_000;

/**
 * The documents of a YAML or JSON text, one after the other, so that the tree of one can go before the next is made.
 * As kubectl reads them: YAML 1.1 (`yes` is true, `0777` is octal, merge keys), without the types that JSON does not have.
 */
export function* readYaml(text: string): Generator<YamlDocument | YamlMistake> {
  const lines = new LineCounter();
  lines.addNewLine(0);
  const lineColumn = (offset: number): LineColumn => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col };
  };
  const parser = new Parser(lines.addNewLine);
  const depth = { exceededAt: undefined as number | undefined };
  const composer = new Composer({
    version: "1.1",
    customTags: likeJson,
    resolveKnownTags: false,
    // Looked at below: the library compares each key with each other one, which takes for ever on large maps.
    uniqueKeys: false,
  });
  for (const document of composer.compose(shallowTokens(parser, text, depth))) {
    const [error] = document.errors;
    if (depth.exceededAt !== undefined) break; // the rest of this document was not read
    if (error !== undefined) {
      yield { kind: "mistake", at: lineColumn(error.pos[0]), text: syntaxErrorInWords(error, text) };
      continue;
    }
    const conversion = new Conversion(document, text);
    const value = conversion.run();
    const { mistake, places } = conversion;
    if (mistake !== undefined) {
      yield { kind: "mistake", at: lineColumn(mistake.offset), text: mistake.text };
      continue;
    }
    const start = document.contents?.range?.[0] ?? 0;
    const locate = (path: string, part: FieldPart) => lineColumn(offsetOf(places, path, part) ?? start);
    yield { kind: "document", value, locate };
  }
  if (depth.exceededAt !== undefined) {
    yield { kind: "mistake", at: lineColumn(depth.exceededAt), text: `nested more than ${MAX_DEPTH} levels deep` };
  }
}

/** The parser's tokens, until they nest too deeply. Only the parser keeps its stack in an array, so only here it can be told. */
function* shallowTokens(parser: Parser, text: string, depth: { exceededAt: number | undefined }): Generator<CST.Token> {
  for (const lexeme of new Lexer().lex(text)) {
    yield* parser.next(lexeme);
    if (parser.stack.length > MAX_DEPTH) {
      depth.exceededAt = parser.offset;
      return;
    }
  }
  yield* parser.end();
}

/** Timestamps, binary data, base-60 numbers, sets and ordered maps stay what they are without their tags. */
function likeJson(tags: Tags): Tags {
  const left = new Set(["omap", "pairs", "set", "binary", "timestamp"].map((name) => `tag:yaml.org,2002:${name}`));
  const kept = tags.filter(
    (tag) => typeof tag === "string" || !(left.has(tag.tag) || ("format" in tag && tag.format === "TIME")),
  );
  // The library takes e1 and +e5 for numbers, and they come out as NaN; without a digit before the exponent they are names.
  return kept.map((tag) => {
    if (typeof tag === "string" || tag.collection !== undefined || tag.format !== "EXP") return tag;
    return { ...tag, test: /^[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$/ };
  });
}

type FieldOffsets = { readonly key: number; readonly value: number };

function offsetOf(places: ReadonlyMap<string, FieldOffsets>, path: string, part: FieldPart): number | undefined {
  const exact = places.get(path);
  if (exact !== undefined) return exact[part];
  for (let at = parentOf(path); at !== undefined; at = parentOf(at)) {
    const ancestor = places.get(at);
    if (ancestor !== undefined) return ancestor.value;
  }
  return undefined;
}

/**
 * Turns a document's tree into plain data. Not the library's own `toJS`, which neither says where a value came from nor
 * bounds what aliases expand to in a way that lets large honest files pass.
 */
class Conversion {
  readonly places: Map<string, FieldOffsets> = new Map();
  mistake: { readonly offset: number; readonly text: string } | undefined;
  readonly #document: Document.Parsed;
  readonly #text: string;
  #targets: ReadonlyMap<Alias, unknown> | undefined;
  #aliasDepth = 0;
  #aliasedValues = 0;

  constructor(document: Document.Parsed, text: string) {
    this.#document = document;
    this.#text = text;
  }

  run(): unknown {
    return this.#value(this.#document.contents, "", 0);
  }

  #value(node: unknown, at: string, depth: number): unknown {
    if (!this.#mayGoOn(node, depth)) return undefined;
    if (isScalar(node)) return node.value;
    if (isAlias(node)) return this.#aliased(() => this.#value(this.#targetOf(node), at, depth + 1));
    if (isMap(node)) {
      const fields = new Map<string, unknown>();
      this.#readFields(node, at, depth, fields);
      // Unlike an assignment, this also makes a plain field of a key such as "__proto__".
      return Object.fromEntries(fields);
    }
    if (!isSeq(node)) return null;
    return node.items.map((item, i) => {
      const path = itemOf(at, i);
      const offset = offsetOfNode(item);
      if (offset !== undefined) this.places.set(path, { key: offset, value: offset });
      return this.#value(item, path, depth + 1);
    });
  }

  /** A field that is already there stays: keys of a map go before those merged into it, and earlier merges before later ones. */
  #readFields(map: YAMLMap, at: string, depth: number, fields: Map<string, unknown>): void {
    const own = new Set<string>();
    const merged: unknown[] = [];
    for (const { key: keyNode, value } of map.items) {
      if (!this.#mayGoOn(keyNode, depth)) return;
      if (isScalar(keyNode) && keyNode.source === "<<" && keyNode.type === "PLAIN") {
        merged.push(value);
        continue;
      }
      const key = this.#key(keyNode);
      if (key === undefined) return;
      const keyOffset = offsetOfNode(keyNode) ?? 0;
      if (own.has(key)) this.#fail(keyOffset, `the key ${quoted(key)} is given twice in one map`);
      own.add(key);
      if (fields.has(key)) continue;
      const path = fieldOf(at, key);
      // An absent value has no place of its own.
      const valueOffset = isScalar(value) && value.value === null ? keyOffset : (offsetOfNode(value) ?? keyOffset);
      this.places.set(path, { key: keyOffset, value: valueOffset });
      fields.set(key, this.#value(value, path, depth + 1));
    }
    for (const value of merged) this.#merge(value, at, depth + 1, fields);
  }

  #merge(value: unknown, at: string, depth: number, fields: Map<string, unknown>): void {
    if (!this.#mayGoOn(value, depth)) return;
    if (isAlias(value)) {
      this.#aliased(() => this.#merge(this.#targetOf(value), at, depth + 1, fields));
    } else if (isMap(value)) {
      this.#readFields(value, at, depth, fields);
    } else if (isSeq(value)) {
      for (const item of value.items) this.#merge(item, at, depth + 1, fields);
    } else {
      this.#fail(offsetOfNode(value) ?? 0, "the merge key << takes a map, or a list of maps");
    }
  }

  #key(node: unknown): string | undefined {
    const target = isAlias(node) ? this.#targetOf(node) : node;
    if (isScalar(target)) return String(target.value);
    if (target === null && this.mistake === undefined) return "null";
    const offset = offsetOfNode(node) ?? 0;
    const template = this.#text.startsWith("{{", offset - 1) || this.#text.startsWith("{{", offset);
    this.#fail(offset, template ? "{{ starts an unexpanded template; put it in quotes" : "a key must be plain text");
    return undefined;
  }

  #aliased<T>(work: () => T): T {
    this.#aliasDepth += 1;
    const result = work();
    this.#aliasDepth -= 1;
    return result;
  }

  #targetOf(alias: Alias): unknown {
    this.#targets ??= aliasTargets(this.#document);
    const target = this.#targets.get(alias);
    if (target === undefined)
      this.#fail(offsetOfNode(alias) ?? 0, `*${alias.source}: no anchor &${alias.source} stands before it`);
    return target;
  }

  #mayGoOn(node: unknown, depth: number): boolean {
    if (this.mistake !== undefined) return false;
    if (depth > MAX_DEPTH) this.#fail(offsetOfNode(node) ?? 0, `nested more than ${MAX_DEPTH} levels deep`);
    if (this.#aliasDepth > 0) this.#aliasedValues += 1;
    if (this.#aliasedValues > MAX_ALIASED_VALUES) {
      this.#fail(offsetOfNode(node) ?? 0, `its aliases stand for more than ${MAX_ALIASED_VALUES} values`);
    }
    return this.mistake === undefined;
  }

  /** The first mistake is the one to tell: others are likely to follow from it. */
  #fail(offset: number, text: string): void {
    this.mistake ??= { offset, text };
  }
}

/** What each alias stands for: the node that last took the anchor's name before it. */
function aliasTargets(document: Document.Parsed): ReadonlyMap<Alias, unknown> {
  const anchors = new Map<string, unknown>();
  const targets = new Map<Alias, unknown>();
  visit(document, {
    Alias: (_key, alias) => void targets.set(alias, anchors.get(alias.source)),
    Value: (_key, node) => {
      if (node.anchor !== undefined) anchors.set(node.anchor, node);
    },
  });
  return targets;
}

function offsetOfNode(node: unknown): number | undefined {
  return isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range?.[0] : undefined;
}

function quoted(key: string): string {
  return JSON.stringify(key.length > 80 ? `${key.slice(0, 80)}…` : key);
}
