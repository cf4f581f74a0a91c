// A Hub that does as it is told: it records every frame and answers as the test wants.
import { createServer } from "node:http";
import { WebSocketServer } from "ws";
import { until } from "./wait.mjs";

/**
 * @typedef {object} Behaviour
 * @property {(params: any) => object} register the answer to a registration
 * @property {boolean} silent answers nothing at all
 * @property {boolean} heartbeats answers heartbeats
 * @property {boolean} acknowledges answers `task.complete`
 * @property {Record<string, (params: any, id: string, peer: Peer) => object | undefined>} methods
 */

/** One connection of a Worker. */
class Peer {
  constructor(socket, url) {
    this.socket = socket;
    this.url = url;
    /** @type {any[]} */
    this.frames = [];
    this.registered = false;
    this.closed = false;
    this.closeCode = 0;
  }

  send(frame) {
    this.socket.send(typeof frame === "string" ? frame : JSON.stringify({ jsonrpc: "2.0", ...frame }));
  }

  task(id, session, text) {
    const message = { role: "user", parts: [{ type: "text", text }] };
    this.send({ id: 7, method: "task.execute", params: { id, sessionId: session, message } });
  }
}

/** Starts a Hub. */
export async function startHub() {
  /** @type {Behaviour} */
  const behaviour = {
    register: (params) => ({ registered: true, agent_id: params.agent_name }),
    silent: false,
    heartbeats: true,
    acknowledges: true,
    methods: {},
  };
  /** @type {Peer[]} */
  const peers = [];
  const http = createServer();
  const server = new WebSocketServer({ server: http, maxPayload: 4 * 1024 * 1024 });
  server.on("connection", (socket, request) => {
    const peer = new Peer(socket, request.url);
    peers.push(peer);
    socket.on("message", (data) => receive(peer, JSON.parse(String(data)), behaviour));
    socket.on("close", (code) => {
      peer.closed = true;
      peer.registered = false;
      peer.closeCode = code;
    });
    socket.on("error", () => undefined);
    if (!behaviour.silent)
      peer.send({ method: "connection.established", params: { connection_id: `c${peers.length}` } });
  });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", () => resolve(undefined)));
  const port = /** @type {import("node:net").AddressInfo} */ (http.address()).port;
  const frames = () => peers.flatMap((peer) => peer.frames);
  return {
    behaviour,
    peers,
    frames,
    url: `ws://127.0.0.1:${port}/ws/agents`,
    /** The connection that is registered, once there is one. */
    online: () => until("an agent is registered", () => peers.find((peer) => peer.registered && !peer.closed)),
    /** Every `task.complete` of a task. */
    completions: (task) => frames().filter((f) => f.method === "task.complete" && f.params.task_id === task),
    /** The end of a task: its state and text. */
    ended: async (task, ms = 10_000) => {
      const find = () => frames().find((f) => f.method === "task.complete" && f.params.task_id === task);
      const { status } = (await until(`${task} has ended`, find, ms)).params;
      return { state: status.state, text: status.message?.parts[0].text ?? "" };
    },
    /** The pieces of a task's answer, in order. */
    pieces: (task) =>
      frames()
        .filter((f) => f.method === "task.status" && f.params.task_id === task)
        .flatMap((f) => f.params.status.message?.parts.map((part) => part.text) ?? []),
    close: () => {
      for (const peer of peers) peer.socket.terminate();
      server.close();
      http.closeAllConnections();
      http.close();
    },
  };
}

function receive(peer, frame, behaviour) {
  peer.frames.push(frame);
  if (behaviour.silent) return;
  if (frame.method === "agent.register") {
    const result = behaviour.register(frame.params);
    peer.registered = result.registered === true;
    peer.send({ id: frame.id, result });
  } else if (frame.method === "heartbeat") {
    if (behaviour.heartbeats) peer.send({ method: "heartbeat_ack" });
  } else if (frame.method === "task.complete") {
    if (behaviour.acknowledges) peer.send({ id: frame.id, result: { ok: true } });
  } else {
    const method = behaviour.methods[frame.method];
    const answer = method?.(frame.params, frame.id, peer);
    if (answer) peer.send({ id: frame.id, ...answer });
  }
}
