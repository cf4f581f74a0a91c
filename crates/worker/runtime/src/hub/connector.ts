// The agent's connection to the Hub: one outbound WebSocket and its life cycle. Everything that depends on time is decided
// in `tick`, which the owner calls when `due` says so; between two ticks only frames and the socket's end change the state.

import { type Log, reason } from "../log.ts";
import { Calls } from "./calls.ts";
import { type Id, isObject, LONGEST_FRAME, name, read, request } from "./frames.ts";
import { type Pace, retryDelay } from "./pace.ts";

/** Refusals that no waiting will change. */
const PERMANENT = ["owned by another user", "routing id mismatch"];
const GOING_AWAY = 1000;
const RESTART = 1012;
const TOO_BIG = 1009;

type Link =
  | { readonly at: "asleep" }
  | { readonly at: "refused"; readonly reason: string }
  | { readonly at: "waiting"; readonly until: number }
  | { readonly at: "opening"; readonly since: number }
  | { readonly at: "parting"; readonly until: number }
  | { readonly at: "registered"; readonly since: number };

/** What the connector needs to know, and whom it tells. */
export interface Owner {
  readonly url: string;
  readonly agent: string;
  readonly token: string;
  readonly framework: string;
  readonly version: string;
  readonly adapterVersion: string;
  readonly keepAlive: boolean;
  readonly pace: Pace;
  readonly log: Log;
  /** Whether nothing is being worked on. */
  idle(): boolean;
  /** Registered: what could not be sent before can be sent now. */
  registered(): void;
  /** A call of the Hub; an answer is sent if one is returned. */
  call(method: string, params: Record<string, unknown>, id: Id | undefined): Record<string, unknown> | undefined;
  /** An answer of the Hub to the request with this id. */
  answered(id: Id): void;
  /** The time of the next tick may have changed. */
  rescheduled(): void;
}

/** One agent, one connection. */
export class Connector {
  private link: Link = { at: "asleep" };
  private ws: WebSocket | undefined;
  private attempt = 0;
  private lastBeat = 0;
  private lastHeard = 0;
  private lastWork = 0;
  private heartbeatsAnswered = false;
  private lastError = "";
  private settled: (() => void)[] = [];
  readonly calls = new Calls((method, params, id) => this.send(request(method, params, id)));

  constructor(private readonly owner: Owner) {}

  /** Connects unless connected or about to be; forgets a refusal and any waiting. */
  wake(): void {
    this.lastWork = Date.now();
    if (this.link.at === "registered" || this.link.at === "opening") return;
    this.attempt = 0;
    this.drop(RESTART, "woken");
    this.open();
  }

  /** Resolves when an attempt under way has ended, one way or the other. */
  settle(): Promise<void> {
    if (this.link.at !== "opening") return Promise.resolve();
    return new Promise((resolve) => this.settled.push(resolve));
  }

  /** When `tick` has to be called next; `undefined`: not before the next wake. */
  due(): number | undefined {
    switch (this.link.at) {
      case "asleep":
      case "refused":
        return undefined;
      case "waiting":
      case "parting":
        return this.link.until;
      case "opening":
        return this.link.since + this.owner.pace.registration;
      case "registered":
        return this.lastBeat + this.owner.pace.heartbeat;
    }
  }

  /** Does what is due. */
  tick(): void {
    const now = Date.now();
    const due = this.due();
    if (due === undefined || now < due) return;
    switch (this.link.at) {
      case "asleep":
      case "refused":
        return;
      case "waiting":
        this.open();
        return;
      case "parting":
        this.retry(RESTART, "refused for now");
        return;
      case "opening":
        this.retry(RESTART, "the Hub did not register the agent in time");
        return;
      case "registered":
        this.beat(now);
    }
  }

  /** Sends a frame if the agent is registered. */
  send(frame: Record<string, unknown>): boolean {
    return this.link.at === "registered" && this.transmit(frame);
  }

  /** For `/status`. */
  report(): Record<string, string | number | boolean> {
    const since = this.link.at === "registered" ? { since: new Date(this.link.since).toISOString() } : {};
    const refused = this.link.at === "refused" ? { reason: this.link.reason } : {};
    return { state: this.link.at, ...since, ...refused, attempts: this.attempt, last_error: this.lastError };
  }

  private beat(now: number): void {
    const { pace, keepAlive } = this.owner;
    if (!this.owner.idle()) this.lastWork = now;
    if (this.heartbeatsAnswered && now - this.lastHeard > pace.silence) {
      this.retry(RESTART, "the Hub fell silent");
    } else if (!keepAlive && now - this.lastWork > pace.idle) {
      this.drop(GOING_AWAY, "idle");
      this.to({ at: "asleep" });
    } else {
      this.lastBeat = now;
      this.transmit(request("heartbeat", {}));
      this.owner.rescheduled();
    }
  }

  private async open(): Promise<void> {
    const opening: Link = { at: "opening", since: Date.now() };
    this.to(opening);
    try {
      const url = this.owner.url.replace(/^ws/, "http");
      const response = await fetch(url, { headers: { Upgrade: "websocket" } });
      const ws = response.webSocket;
      if (this.link !== opening) {
        ws?.accept();
        ws?.close(GOING_AWAY, "too late");
        return;
      }
      if (!ws) throw new Error(`the Hub answered with HTTP ${response.status}`);
      ws.accept();
      this.listen(ws);
      this.register();
    } catch (error) {
      if (this.link === opening) this.retry(RESTART, reason(error));
    }
  }

  private listen(ws: WebSocket): void {
    this.ws = ws;
    this.lastHeard = Date.now();
    this.heartbeatsAnswered = false;
    ws.addEventListener("message", (event) => {
      if (this.ws === ws) this.receive(event.data);
    });
    const ended = (why: string) => {
      if (this.ws === ws) this.retry(RESTART, why);
    };
    ws.addEventListener("close", (event) => ended(`closed with ${event.code} ${event.reason}`.trim()));
    ws.addEventListener("error", () => ended("the connection broke"));
  }

  private register(): void {
    const id = this.calls.id();
    this.registration = id;
    const { agent, token, framework, version, adapterVersion } = this.owner;
    const params = {
      agent_name: agent,
      auth_token: token,
      framework,
      framework_version: version,
      adapter_version: adapterVersion,
    };
    this.transmit(request("agent.register", params, id));
  }

  private registration: Id = "";

  private receive(data: unknown): void {
    this.lastHeard = Date.now();
    if (typeof data !== "string") return;
    if (data.length > LONGEST_FRAME) {
      this.retry(TOO_BIG, "the Hub sent a frame of more than 1 MiB");
      return;
    }
    const frame = read(data);
    switch (frame.kind) {
      case "noise":
        this.owner.log("hub.noise", { length: data.length });
        return;
      case "answer":
        if (this.link.at === "opening" && frame.id === this.registration) this.admitted(frame.result, frame.error);
        this.calls.answered(frame.id, frame.result, frame.error);
        this.owner.answered(frame.id);
        return;
      case "call":
        this.called(frame.method, frame.params, frame.id);
    }
  }

  private called(method: string, params: Record<string, unknown>, id: Id | undefined): void {
    switch (method) {
      case "connection.established":
        return;
      case "heartbeat_ack":
        this.heartbeatsAnswered = true;
        return;
      case "delegation.result":
        this.calls.delegated(params);
        return;
      default: {
        this.lastWork = Date.now();
        const answer = this.owner.call(method, params, id);
        if (answer) this.transmit(answer);
      }
    }
  }

  private admitted(result: unknown, error: string | undefined): void {
    const said = isObject(result) ? result : {};
    if (error === undefined && said.registered === true) {
      this.attempt = 0;
      this.lastError = "";
      this.lastBeat = Date.now();
      this.to({ at: "registered", since: this.lastBeat });
      this.owner.log("hub.registered");
      this.owner.registered();
      return;
    }
    const why = error ?? name(said.error) ?? "the Hub refused without a reason";
    this.owner.log("hub.refused", { reason: why });
    this.lastError = why;
    if (PERMANENT.some((words) => why.toLowerCase().includes(words))) {
      this.drop(GOING_AWAY, "refused");
      this.to({ at: "refused", reason: why });
    } else {
      this.to({ at: "parting", until: Date.now() + this.owner.pace.parting });
    }
  }

  /** Ends this socket and plans the next. */
  private retry(code: number, why: string): void {
    this.lastError = this.link.at === "parting" ? this.lastError : why;
    this.owner.log("hub.lost", { reason: why, attempt: this.attempt });
    this.drop(code, "reconnecting");
    const delay = retryDelay(this.owner.pace, this.attempt, Math.random());
    this.attempt += 1;
    this.to({ at: "waiting", until: Date.now() + delay });
  }

  private drop(code: number, why: string): void {
    const ws = this.ws;
    this.ws = undefined;
    this.calls.dropAll();
    try {
      ws?.close(code, why);
    } catch {
      // It was closed already.
    }
  }

  private transmit(frame: Record<string, unknown>): boolean {
    try {
      this.ws?.send(JSON.stringify(frame));
      return this.ws !== undefined;
    } catch (error) {
      this.retry(RESTART, reason(error));
      return false;
    }
  }

  private to(link: Link): void {
    this.link = link;
    if (link.at !== "opening") {
      for (const resolve of this.settled.splice(0)) resolve();
    }
    this.owner.rescheduled();
  }
}
