import { isIP } from "node:net";
import { type Command, Option } from "commander";
import { isName, isNamespace } from "../api/names.ts";

/** The command line or the environment says something that cannot be meant. The message is one line for the user. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}

/** A flag of a command, which can also be set as an environment variable. */
export type Flag<T> = {
  /** Without the dashes. */
  readonly name: string;
  /** One letter that stands for the name. */
  readonly letter?: string;
  /** What stands for its value in the help; undefined for a flag that is only there or not. */
  readonly argument: string | undefined;
  readonly help: string;
  readonly fallback: T;
  /** Throws a {@link UsageError} that says what the value has to be, to follow the name of the flag. */
  readonly parse: (text: string) => T;
};

type Environment = Readonly<Record<string, string | undefined>>;

export function addFlags(command: Command, flags: readonly Flag<unknown>[]): Command {
  for (const flag of flags) {
    const value = flag.argument === undefined ? "" : ` <${flag.argument}>`;
    const fallback = flag.argument === undefined || flag.fallback === undefined ? "" : String(flag.fallback);
    const help = fallback === "" ? flag.help : `${flag.help} (default: ${fallback})`;
    // Commander could read environment variables too, but takes `ISOLINE_INSECURE=false` for true.
    command.addOption(
      new Option(`${flag.letter === undefined ? "" : `-${flag.letter}, `}--${flag.name}${value}`, help),
    );
  }
  return command;
}

/** The value of a flag: from the command line, else from the environment, else its fallback. */
export function readFlag<T>(command: Command, env: Environment, flag: Flag<T>): T {
  const given: unknown = command.getOptionValue(flag.name.replace(/-[a-z]/g, (match) => match.slice(1).toUpperCase()));
  if (given === true) return parse(flag, `--${flag.name}`, "true");
  if (typeof given === "string") return parse(flag, `--${flag.name}`, given);
  const variable = variableName(flag);
  const text = env[variable];
  if (text === undefined || text === "" || isServiceLink(text)) return flag.fallback;
  return parse(flag, variable, text);
}

function variableName({ name }: Flag<unknown>): string {
  return `ISOLINE_${name.toUpperCase().replaceAll("-", "_")}`;
}

/** Beside a Service named `isoline-xds` Kubernetes sets ISOLINE_XDS_PORT=tcp://10.0.0.1:8001 in every container. */
function isServiceLink(text: string): boolean {
  return /^(tcp|udp|sctp):\/\//.test(text);
}

function parse<T>(flag: Flag<T>, source: string, text: string): T {
  try {
    return flag.parse(text);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    throw new UsageError(`${source} ${error.message}, not ${JSON.stringify(text)}`);
  }
}

export function textFlag<F extends string | undefined>(
  name: string,
  argument: string,
  help: string,
  fallback: F,
): Flag<string | F> {
  const parse = (text: string) => {
    if (text === "") throw new UsageError("needs a value");
    return text;
  };
  return { name, argument, help, fallback, parse };
}

export function switchFlag(name: string, help: string): Flag<boolean> {
  const parse = (text: string) => {
    if (/^(true|yes|on|1)$/i.test(text)) return true;
    if (/^(false|no|off|0)$/i.test(text)) return false;
    throw new UsageError("must be true or false");
  };
  return { name, argument: undefined, help, fallback: false, parse };
}

export function countFlag(name: string, help: string, fallback: number, lowest: 0 | 1): Flag<number> {
  const parse = (text: string) => {
    if (/^(0|[1-9]\d{0,8})$/.test(text) && Number(text) >= lowest) return Number(text);
    throw new UsageError(`must be a number from ${lowest} to 999999999`);
  };
  return { name, argument: "number", help, fallback, parse };
}

/** `lowest` is 0 where that means any port that is free. */
export function portFlag<F extends number | undefined>(
  name: string,
  help: string,
  fallback: F,
  lowest: 0 | 1,
): Flag<number | F> {
  const parse = (text: string) => {
    const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
    if (port >= lowest && port <= 65535) return port;
    throw new UsageError(`must be a port from ${lowest} to 65535`);
  };
  return { name, argument: "port", help, fallback, parse };
}

/** An address to listen on. */
export function addressFlag(name: string, help: string, fallback: string): Flag<string> {
  const parse = (text: string) => {
    if (isIP(text) === 0) throw new UsageError("must be an IP address");
    return text;
  };
  return { name, argument: "address", help, fallback, parse };
}

/** An address of this machine's own to listen on, for what other machines must never reach. */
export function loopbackFlag(name: string, help: string): Flag<string | undefined> {
  const parse = (text: string) => {
    if (isIP(text) !== 0 && isLoopback(text)) return text;
    throw new UsageError("must be a loopback address");
  };
  return { name, argument: "address", help, fallback: undefined, parse };
}

export function isLoopback(address: string): boolean {
  return /^127\.\d+\.\d+\.\d+$/.test(address) || address === "::1" || address === "localhost";
}

/** An address to connect to. */
export function hostFlag(name: string, help: string, fallback: string): Flag<string> {
  return { name, argument: "address", help, fallback, parse: parseHost };
}

function parseHost(text: string): string {
  if (isIP(text) === 0 && !/^(?=.{1,253}$)[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/i.test(text)) {
    throw new UsageError("must be a host name or an IP address");
  }
  return text;
}

/** Some of these, separated by commas; blanks around them do not matter. */
export function hostsFlag(name: string, help: string): Flag<readonly string[]> {
  const parse = (text: string) => text.split(",").map((part) => parseHost(part.trim()));
  return { name, argument: "addresses", help, fallback: [], parse };
}

/** A Service, as `namespace/name`. */
export function serviceFlag(
  name: string,
  help: string,
): Flag<{ readonly namespace: string; readonly name: string } | undefined> {
  const parse = (text: string) => {
    const [namespace = "", service = "", ...rest] = text.split("/");
    if (rest.length > 0 || !isNamespace(namespace) || !isName(service)) {
      throw new UsageError("must be a namespace and a name with a slash between them");
    }
    return { namespace, name: service };
  };
  return { name, argument: "namespace/name", help, fallback: undefined, parse };
}

export function choiceFlag<T extends string>(
  name: string,
  help: string,
  choices: readonly T[],
  fallback: NoInfer<T>,
): Flag<T> {
  const parse = (text: string) => {
    const choice = choices.find((known) => known === text);
    if (choice === undefined) throw new UsageError(`must be one of ${choices.join(", ")}`);
    return choice;
  };
  return { name, argument: choices.length > 3 ? "level" : choices.join("|"), help, fallback, parse };
}

/** Names of namespaces, separated by commas; blanks around them do not matter. */
export function namespacesFlag(name: string, help: string): Flag<readonly string[]> {
  const parse = (text: string) => {
    const names = text.split(",").flatMap((part) => part.trim() || []);
    // An empty list means every namespace: that must not be what is left of `$NAMESPACES` when it is not set.
    if (names.length === 0 || !names.every((each) => /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(each))) {
      throw new UsageError("must be names of namespaces, separated by commas");
    }
    return names;
  };
  return { name, argument: "names", help, fallback: [], parse };
}
