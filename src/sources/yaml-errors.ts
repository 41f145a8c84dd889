import type { YAMLParseError } from "yaml";

/** A syntax error in one sentence for people who did not write a YAML parser. */
export function syntaxErrorInWords(error: YAMLParseError, text: string): string {
  const words = inWords(error);
  const lineStart = text.lastIndexOf("\n", error.pos[0] - 1) + 1;
  const lineEnd = text.indexOf("\n", error.pos[0]);
  const line = text.slice(lineStart, lineEnd === -1 ? undefined : lineEnd);
  return line.includes("{{") ? `${words} (an unexpanded template?)` : words;
}

function inWords({ code, message }: YAMLParseError): string {
  const closing = /\bend with a (\S)$/.exec(message)?.[1];
  if (closing !== undefined)
    return `a bracket is not closed, or what stands in it is not indented: ${closing} expected`;
  switch (code) {
    case "TAB_AS_INDENT":
      return "a tab in the indentation: YAML takes only spaces there";
    case "BAD_INDENT":
      return "wrong indentation: this does not line up with what stands above it";
    case "BLOCK_AS_IMPLICIT_KEY":
      return "a second `key: value` within a value: check the indentation, or put the value in quotes";
    case "MULTILINE_IMPLICIT_KEY":
    case "KEY_OVER_1024_CHARS":
      return "neither a `key: value` nor part of the value above: a colon may be missing";
    case "BAD_SCALAR_START":
      return `a value cannot start with ${message.slice(-1)} unless it is put in quotes`;
    case "BAD_DQ_ESCAPE":
      return `${message.slice(message.lastIndexOf(" ") + 1)} means nothing in double quotes: write \\\\ for a backslash`;
    case "MISSING_CHAR":
      if (message.includes("quote")) return "a quotation mark is missing: the text in quotes does not end";
      break;
    case "UNEXPECTED_TOKEN":
      return "this does not belong here: check the indentation, brackets and quotes of this line and the one above";
    case "BLOCK_IN_FLOW":
      return "lines of `key: value` within brackets: a bracket may not be closed";
    case "RESOURCE_EXHAUSTION":
      return "nested too deeply";
    default:
  }
  // The rest is rare, and the library's own words are short.
  return (message.split("\n")[0] ?? message).replace(/^./, (first) => first.toLowerCase());
}
