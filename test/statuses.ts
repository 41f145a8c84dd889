import type { Translation } from "../src/translate/translator.ts";

/** The verdicts as a case's status.yaml has them. */
export function statusesOf({ verdicts }: Pick<Translation, "verdicts">): readonly unknown[] {
  return [...verdicts.values()].map(({ object, currentStatus, description, problems }) => ({
    object,
    currentStatus,
    description,
    ...(problems.length === 0 ? {} : { problems: problems.map(({ code, at }) => ({ code, at })) }),
  }));
}
