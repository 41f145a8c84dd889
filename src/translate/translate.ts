import type { ObjectChange } from "../api/kinds.ts";
import { type TranslateOptions, type Translation, Translator } from "./translator.ts";

/** The whole pure core in one call: what a controller that has seen exactly these objects serves and says. */
export function translate(objects: Iterable<ObjectChange>, options: TranslateOptions): Translation {
  const translator = new Translator(options);
  const { failures } = translator.apply(objects);
  const [failure] = failures;
  if (failure !== undefined) throw failure.error;
  return translator.current();
}
