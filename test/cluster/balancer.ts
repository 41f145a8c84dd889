import { connect, createServer, type Socket } from "node:net";
import { listening } from "../parts/listening.ts";

/** What a Service of Kubernetes is to its clients: one port, behind which there are the ready pods of the time. */
export type Balancer = {
  readonly port: number;
  /** From now on new connections go to one of these ports of the loopback; with none they are refused. */
  readonly leadTo: (ports: readonly number[]) => void;
  readonly stop: () => Promise<void>;
};

export async function startBalancer(): Promise<Balancer> {
  let targets: readonly number[] = [];
  let connections = 0;
  const server = createServer((client: Socket) => {
    const port = targets[connections++ % targets.length];
    if (port === undefined) {
      client.destroy();
      return;
    }
    const target = connect({ host: "127.0.0.1", port, noDelay: true });
    client.setNoDelay(true);
    client.pipe(target).pipe(client);
    target.on("error", () => client.destroy());
    target.on("close", () => client.destroy());
    client.on("close", () => target.destroy());
  });
  const { port, stop } = await listening(server);
  return {
    port,
    leadTo: (ports) => {
      targets = ports;
    },
    stop,
  };
}
