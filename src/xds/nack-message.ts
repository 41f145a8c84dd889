/** Enough for a status field; Envoy's own messages can hold a whole resource. */
const MAX_LENGTH = 500;

const WITHHELD = "Envoy refused it; its message holds a dump of the resource and is withheld";

/** Envoy prints whole resources behind this marker. */
const DUMP = /goo\.gle\/debug/;

/** What may stand behind a dump: names of fields and constraints, no values. */
const CONSTRAINT = /Proto constraint validation failed \([^"\n]*\)/;

/** Signs of key material, or of a resource printed without the marker. */
const KEY_MATERIAL = /PRIVATE KEY|-----BEGIN|private_key|inline_bytes|inline_string/;

/** In messages about secrets the look of a dump, or of base64, is too much. */
const LOOKS_LIKE_SECRET = /[{}"\n]|[A-Za-z0-9+/=]{40}/;

/** Envoy's words about a refused resource, short and without anything that could hold a key. */
export function nackMessage(raw: string, isSecret: boolean): string {
  if (KEY_MATERIAL.test(raw) || (isSecret && (DUMP.test(raw) || LOOKS_LIKE_SECRET.test(raw)))) return WITHHELD;
  if (DUMP.test(raw)) return shorten(CONSTRAINT.exec(raw)?.[0] ?? WITHHELD);
  const text = raw.replace(/\s+/g, " ").trim();
  return text === "" ? "Envoy gave no reason" : shorten(text);
}

function shorten(text: string): string {
  return text.length <= MAX_LENGTH ? text : `${text.slice(0, MAX_LENGTH)}...`;
}
