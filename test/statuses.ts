import type { Problem } from "../src/compile/problems.ts";
import type { Translation } from "../src/translate/translator.ts";

/** The verdicts, and what is to be said of the Ingresses that are ours, as a case's status.yaml has them. */
export function statusesOf({ verdicts, ingresses }: Pick<Translation, "verdicts" | "ingresses">): readonly unknown[] {
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

function problemsOf(problems: readonly Problem[]): object {
  return problems.length === 0 ? {} : { problems: problems.map(({ code, at }) => ({ code, at })) };
}
