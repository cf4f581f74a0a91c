// The agent: one Durable Object that owns the connection, the tasks and the one alarm.

import { DurableObject } from "cloudflare:workers";
import { ENGINE, prepareEngine } from "./engine.ts";
import { confidential, type Env, keepAlive } from "./env.ts";
import { fingerprints } from "./fingerprint.ts";
import { Connector } from "./hub/connector.ts";
import { type Id, name, refusal, request, status, taskRequest } from "./hub/frames.ts";
import { type Pace, paceOf } from "./hub/pace.ts";
import identityMarkdown from "./IDENTITY.md";
import { parseIdentity } from "./identity.ts";
import { type Log, logTo, reason } from "./log.ts";
import { Redactor } from "./redact.ts";
import { Runner } from "./runner.ts";
import { isFinal, type Task, Tasks } from "./tasks.ts";
import { artifactTools } from "./tools/artifacts.ts";
import { httpTools } from "./tools/http.ts";
import { networkTools } from "./tools/network.ts";
import { skillTools } from "./tools/skills.ts";
import { writeWorkspace } from "./workspace.ts";

/** How long a wake waits for the connection, so that whoever sends a task next finds the agent registered. */
const WAKE_MS = 3_000;
const PRUNE_MS = 3600_000;
const INVALID_PARAMS = -32602;
const METHOD_NOT_FOUND = -32601;

const identity = parseIdentity(identityMarkdown);

/** Class name and table are part of the deployment contract (migration `v1`). */
export class OpenClawAgent extends DurableObject<Env> {
  private readonly pace: Pace;
  private readonly log: Log;
  private readonly redactor: Redactor;
  private readonly tasks: Tasks;
  private readonly hub: Connector;
  private readonly runner: Runner;
  /** Ids of our `task.complete` frames whose acknowledgement is awaited. */
  private readonly awaited = new Map<Id, string>();
  private timer: number | null = null;
  private alarmAt: number | undefined;
  private pruned = 0;
  private workspaceWritten = false;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.pace = paceOf(env.HEARTBEAT_MS);
    this.redactor = new Redactor(confidential(env));
    this.log = logTo(this.redactor, env.AGENT_NAME);
    this.tasks = new Tasks(ctx.storage.sql);
    this.tasks.recover();
    this.hub = this.connector();
    prepareEngine(this.pace.retry[0]);
    this.runner = new Runner({
      env,
      identity,
      tasks: this.tasks,
      tools: [
        ...artifactTools(env.AGENT_BUCKET),
        ...skillTools(identity),
        ...networkTools(this.hub.calls, env.AGENT_NAME),
        ...httpTools(),
      ],
      redactor: this.redactor,
      reporter: {
        working: (id, piece) => {
          this.hub.send(request("task.status", status(id, "working", piece, false), this.hub.calls.id()));
        },
        finished: (id) => {
          const task = this.tasks.get(id);
          if (task) this.deliver(task);
        },
      },
      log: this.log,
    });
  }

  /** Connects, and goes on with what a restart interrupted. Says how the connection stands a moment later. */
  async wake(): Promise<Record<string, string | number | boolean>> {
    this.hub.wake();
    this.runner.pump();
    await Promise.race([this.hub.settle(), scheduler.wait(WAKE_MS)]);
    return this.hub.report();
  }

  /** What runs here, with which secrets, and how it does. */
  async status(): Promise<Record<string, unknown>> {
    return {
      name: this.env.AGENT_NAME,
      try: this.env.TALON_TRY ?? null,
      secrets_rev: this.env.TALON_SECRETS_REV ?? null,
      model: this.env.OPENCLAW_MODEL ?? null,
      keep_alive: keepAlive(this.env),
      runtime: {
        engine: ENGINE.name,
        version: ENGINE.version,
        revision: RUNTIME_REVISION,
        bundle: this.env.TALON_RUNTIME ?? null,
      },
      connection: this.hub.report(),
      tasks: this.tasks.counts(),
      fingerprints: await fingerprints(this.env),
    };
  }

  /** Heartbeat, reconnection, and after a restart the way back. Never throws: a failed alarm would be repeated at once. */
  override async alarm(): Promise<void> {
    this.alarmAt = undefined;
    try {
      if (this.hub.due() === undefined) await this.wake();
      else this.hub.tick();
      this.housekeeping();
    } catch (error) {
      this.log("alarm.failed", { reason: reason(error) });
    }
    await this.reschedule();
  }

  private connector(): Connector {
    return new Connector({
      url: this.env.SOCIETY_AI_HUB_URL,
      agent: this.env.AGENT_NAME,
      token: this.env.SOCIETY_AI_AUTH_TOKEN ?? "",
      framework: "openclaw",
      version: ENGINE.version,
      adapterVersion: `talon-${RUNTIME_REVISION}`,
      keepAlive: keepAlive(this.env),
      pace: this.pace,
      log: this.log,
      idle: () => this.runner.idle(),
      registered: () => this.registered(),
      call: (method, params, id) => this.called(method, params, id),
      answered: (id) => {
        const task = this.awaited.get(id);
        if (task === undefined) return;
        this.awaited.delete(id);
        this.tasks.markAcknowledged(task);
      },
      rescheduled: () => {
        this.ctx.waitUntil(this.reschedule());
      },
    });
  }

  /** A kept-alive agent is brought back by the alarm; another one sleeps as soon as it may, so a timer will do. */
  private async reschedule(): Promise<void> {
    const due = this.hub.due();
    if (due === undefined) {
      clearTimeout(this.timer);
      if (this.alarmAt !== undefined) await this.ctx.storage.deleteAlarm();
      this.alarmAt = undefined;
    } else if (keepAlive(this.env)) {
      if (this.alarmAt === due) return;
      this.alarmAt = due;
      // Never for the time of an alarm that is just running: that one would take it along when it ends.
      await this.ctx.storage.setAlarm(Math.max(due, Date.now() + 1));
    } else {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.hub.tick(), Math.max(0, due - Date.now()));
    }
  }

  private registered(): void {
    this.awaited.clear();
    for (const task of this.tasks.unsent(Date.now() - this.pace.silence)) this.deliver(task);
    this.runner.pump();
    this.housekeeping();
    if (this.workspaceWritten) return;
    this.workspaceWritten = true;
    const copies = writeWorkspace(this.env, identityMarkdown, identity).catch((error: unknown) => {
      this.workspaceWritten = false;
      this.log("workspace.failed", { reason: reason(error) });
    });
    this.ctx.waitUntil(copies);
  }

  private called(
    method: string,
    params: Record<string, unknown>,
    id: Id | undefined,
  ): Record<string, unknown> | undefined {
    switch (method) {
      case "task.execute":
        return this.execute(params, id);
      case "task.cancel":
        this.runner.cancel(name(params.id) ?? name(params.task_id) ?? "");
        return undefined;
      default:
        return id === undefined ? undefined : refusal(id, METHOD_NOT_FOUND, "method not found");
    }
  }

  private execute(params: Record<string, unknown>, id: Id | undefined): Record<string, unknown> | undefined {
    const asked = taskRequest(params);
    if (!asked) return id === undefined ? undefined : refusal(id, INVALID_PARAMS, "a task needs an id");
    const known = this.tasks.add(asked.id, asked.session, asked.text);
    if (known && isFinal(known.state)) {
      this.deliver(known);
      return undefined;
    }
    if (!known && asked.text.trim() === "") {
      this.tasks.finish(asked.id, "failed", "The task has no text.");
      const empty = this.tasks.get(asked.id);
      if (empty) this.deliver(empty);
      return undefined;
    }
    this.hub.send(request("task.status", status(asked.id, "working", undefined, false), this.hub.calls.id()));
    this.runner.pump();
    return undefined;
  }

  private deliver(task: Task): void {
    const id = this.hub.calls.id();
    const frame = request("task.complete", status(task.id, task.state, task.answer, true), id);
    if (!this.hub.send(frame)) return;
    this.awaited.set(id, task.id);
    this.tasks.markSent(task.id);
  }

  /** On every registration and alarm, since an agent that is not kept alive has no alarm; once an hour at most. */
  private housekeeping(): void {
    if (Date.now() - this.pruned < PRUNE_MS) return;
    this.pruned = Date.now();
    this.tasks.prune();
  }
}
