import type { ObjectKey } from "../src/api/object-key.ts";
import type { Problem } from "../src/compile/problems.ts";
import type { Translation } from "../src/translate/translator.ts";

/** One object of a case's status.yaml; an Ingress has no `currentStatus`. */
export type ToldStatus = {
  readonly object: ObjectKey;
  readonly currentStatus?: string;
  readonly description?: string;
  readonly problems?: readonly Pick<Problem, "code" | "at">[];
};

/** The verdicts, and what is to be said of the Ingresses that are ours, as a case's status.yaml has them. */
export function statusesOf({
  verdicts,
  ingresses,
}: Pick<Translation, "verdicts" | "ingresses">): readonly ToldStatus[] {
  return [
    ...[...verdicts.values()].map(({ object, currentStatus, description, problems }) => ({
      object,
      currentStatus,
      description,
      ...problemsOf(problems),
    })),
    ...[...ingresses].map(([object, problems]) => ({ object, ...problemsOf(problems) })),
  ];
}

function problemsOf(problems: readonly Problem[]): Pick<ToldStatus, "problems"> {
  return problems.length === 0 ? {} : { problems: problems.map(({ code, at }) => ({ code, at })) };
}
