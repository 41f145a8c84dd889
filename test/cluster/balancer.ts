import { connect, createServer, type Socket } from "node:net";
import { type Listening, listening } from "../parts/listening.ts";

/** What a Service of Kubernetes is to its clients: one port, behind which there are the ready pods of the time. */
export type Balancer = {
  readonly port: number;
  /** From now on new connections go to one of these ports of the loopback; with none they are refused. */
  readonly leadTo: (ports: readonly number[]) => void;
  readonly stop: () => Promise<void>;
};

export type Target = { readonly host: string; readonly port: number };

export async function startBalancer(): Promise<Balancer> {
  let targets: readonly number[] = [];
  let connections = 0;
  const { port, stop } = await startForwarder(() => {
    const port = targets[connections++ % targets.length];
    return port === undefined ? undefined : { host: "127.0.0.1", port };
  });
  return {
    port,
    leadTo: (ports) => {
      targets = ports;
    },
    stop,
  };
}

/** Forwards each connection to where it is told to then; without a target it is refused. */
export function startForwarder(next: () => Target | undefined, address?: string, port?: number): Promise<Listening> {
  const server = createServer((client: Socket) => {
    const to = next();
    if (to === undefined) {
      client.destroy();
      return;
    }
    const target = connect({ ...to, noDelay: true });
    client.setNoDelay(true);
    client.pipe(target).pipe(client);
    target.on("error", () => client.destroy());
    target.on("close", () => client.destroy());
    client.on("close", () => target.destroy());
  });
  return listening(server, address, port);
}
