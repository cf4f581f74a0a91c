// Requests of ours that the Hub answers: at once on the same id, or later by a `delegation.result`.

import { type Id, isObject, messageText, name } from "./frames.ts";

/** Milliseconds an ordinary request may take. */
const ANSWER_MS = 15_000;
/** The Hub gives a delegated task up after 180 s; a little later we do too. */
const DELEGATION_MS = 185_000;

interface Waiting {
  resolve(value: unknown): void;
  reject(error: Error): void;
  timer: number;
}

/** Sends a request; false if there is no connection. */
export type Send = (method: string, params: Record<string, unknown>, id: Id) => boolean;

/** Keeps track of what was asked. */
export class Calls {
  private next = 1;
  private readonly answers = new Map<Id, Waiting>();
  private readonly delegations = new Map<Id, Waiting>();
  /** Ids of delegated tasks, for a Hub that names those instead of the request. */
  private readonly aliases = new Map<string, string>();

  constructor(private readonly send: Send) {}

  /** An id that this connection has not used. */
  id(): string {
    return `msg-${this.next++}`;
  }

  /** Asks, and waits for the answer. */
  async ask(method: string, params: Record<string, unknown>, signal?: AbortSignal): Promise<unknown> {
    const id = this.id();
    const answer = this.expect(this.answers, id, ANSWER_MS, method, signal);
    if (!this.send(method, params, id)) this.settle(this.answers, id, new Error("not connected to the network"));
    return answer;
  }

  /** Hands a task to another agent and waits for its result. */
  async delegate(params: Record<string, unknown> & { task_id: string }, signal: AbortSignal): Promise<string> {
    const id = this.id();
    const result = this.expect(this.delegations, id, DELEGATION_MS, "the other agent", signal);
    this.aliases.set(params.task_id, id);
    const ack = this.expect(this.answers, id, ANSWER_MS, "agent.send_task", signal);
    if (!this.send("agent.send_task", params, id)) {
      this.settle(this.answers, id, new Error("not connected to the network"));
    }
    try {
      await Promise.race([ack.then(refused), result]);
      return text(await result);
    } finally {
      this.aliases.delete(params.task_id);
      this.settle(this.answers, id, new Error("no longer needed"));
      this.settle(this.delegations, id, new Error("no longer needed"));
      result.catch(() => undefined);
    }
  }

  /** An answer of the Hub to one of our ids. */
  answered(id: Id, result: unknown, error: string | undefined): void {
    this.settle(this.answers, id, error === undefined ? undefined : new Error(error), result);
  }

  /** A `delegation.result`. */
  delegated(params: Record<string, unknown>): void {
    const named = name(params.original_id) ?? name(params.task_id) ?? "";
    this.settle(this.delegations, this.aliases.get(named) ?? named, undefined, params);
  }

  /** The connection is gone: nobody will answer. */
  dropAll(): void {
    for (const waiting of [this.answers, this.delegations]) {
      for (const id of [...waiting.keys()]) {
        this.settle(waiting, id, new Error("the connection to the network was lost"));
      }
    }
  }

  private expect(waiting: Map<Id, Waiting>, id: Id, ms: number, whom: string, signal?: AbortSignal): Promise<unknown> {
    const answer = new Promise<unknown>((resolve, reject) => {
      const late = () => this.settle(waiting, id, new Error(`${whom} did not answer in time`));
      waiting.set(id, { resolve, reject, timer: setTimeout(late, ms) });
      const stop = () => this.settle(waiting, id, new Error("canceled"));
      signal?.addEventListener("abort", stop, { once: true });
    });
    answer.catch(() => undefined);
    return answer;
  }

  private settle(waiting: Map<Id, Waiting>, id: Id, error: Error | undefined, value?: unknown): void {
    const one = waiting.get(id);
    if (!one) return;
    waiting.delete(id);
    clearTimeout(one.timer);
    if (error) one.reject(error);
    else one.resolve(value);
  }
}

/** An acknowledgement that says no. */
function refused(ack: unknown): void {
  if (!isObject(ack)) return;
  const error = ack.error ?? (ack.accepted === false || ack.success === false ? "the task was refused" : undefined);
  if (error !== undefined && error !== null) throw new Error(typeof error === "string" ? error : JSON.stringify(error));
}

/** The text of a `delegation.result`, wherever it stands in it. */
function text(params: unknown): string {
  if (!isObject(params)) return "";
  const inner = isObject(params.result) ? params.result : params;
  const status = isObject(inner.status) ? inner.status : inner;
  const said = messageText(status.message) || [inner.result, inner.text, params.result, params.text].find(isText) || "";
  const error =
    name(params.error) ?? name(inner.error) ?? (isObject(params.error) ? name(params.error.message) : undefined);
  const state = name(status.state) ?? name(inner.state) ?? name(params.status);
  if (error !== undefined || state === "failed" || state === "canceled") {
    throw new Error(`the other agent failed: ${error ?? said}`);
  }
  return said;
}

function isText(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}
