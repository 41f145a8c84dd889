/** More different ones than this are not the same words for many. */
const MAX_TEXTS = 1000;
const MAX_LENGTH = 100;

const texts = new Map<string, string>();

/** An equal text, of which thousands of objects keep one copy: most statuses say the same. */
export function shared(text: string): string {
  if (text.length > MAX_LENGTH) return text;
  const known = texts.get(text);
  if (known !== undefined) return known;
  if (texts.size === MAX_TEXTS) texts.clear();
  texts.set(text, text);
  return text;
}
