// A reverse proxy that puts a program below a path and takes the path away again before it hands on, as others do.

import { createServer, request } from "node:http";
import type { AddressInfo } from "node:net";

export interface Place {
  /** Where the program is, with a slash at the end. */
  url: string;
  /** What was asked beside the path. Nothing is there. */
  strays: string[];
  close: () => void;
}

/** Puts the program at `target` below `path`, which begins with a slash and ends without. */
export async function below(path: string, target: string): Promise<Place> {
  const strays: string[] = [];
  const server = createServer((incoming, outgoing) => {
    const asked = incoming.url ?? "";
    if (asked.split(/[?#]/)[0] === path) {
      outgoing.writeHead(308, { location: `${path}/${asked.slice(path.length)}` }).end();
      return;
    }
    if (!asked.startsWith(`${path}/`)) {
      strays.push(asked);
      outgoing.writeHead(404).end();
      return;
    }
    const { method, headers } = incoming;
    const handed = request(
      new URL(asked.slice(path.length), target),
      { method: method ?? "GET", headers },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.pipe(outgoing);
      },
    );
    handed.on("error", () => outgoing.writeHead(502).end());
    incoming.pipe(handed);
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  const close = () => {
    server.close();
    server.closeAllConnections();
  };
  return { url: `http://127.0.0.1:${port}${path}/`, strays, close };
}
