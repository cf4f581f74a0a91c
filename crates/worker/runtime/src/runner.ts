// Works tasks off: one at a time in a session, sessions beside each other.

import { compaction, runAgent, type Tool } from "./engine.ts";
import type { Env } from "./env.ts";
import type { Identity } from "./identity.ts";
import { type Log, reason } from "./log.ts";
import { chooseModel } from "./model/choice.ts";
import { systemPrompt } from "./prompt.ts";
import type { Redactor } from "./redact.ts";
import { Session } from "./session.ts";
import { isFinal, type Task, type Tasks } from "./tasks.ts";

/** Sessions at work at the same time; each may hold a long conversation in memory. */
const MOST_AT_ONCE = 8;
const LONGEST_RUN_MS = 15 * 60_000;
const BATCH_MS = 50;
/** An answer has to fit into one frame of 1 MiB, whatever its characters cost there. */
const LONGEST_ANSWER = 160_000;

/** Where progress is told. Neither call may throw. */
export interface Reporter {
  working(id: string, piece: string): void;
  finished(id: string): void;
}

/** Everything a run needs. */
export interface RunnerParts {
  readonly env: Env;
  readonly identity: Identity;
  readonly tasks: Tasks;
  readonly tools: readonly Tool[];
  readonly redactor: Redactor;
  readonly reporter: Reporter;
  readonly log: Log;
}

/** Runs what the table holds. */
export class Runner {
  private readonly active = new Map<string, { task: string; stop: AbortController }>();

  constructor(private readonly parts: RunnerParts) {}

  /** Whether nothing is being worked on. */
  idle(): boolean {
    return this.active.size === 0;
  }

  /** Starts whatever may start now. */
  pump(): void {
    for (const task of this.parts.tasks.queued()) {
      if (this.active.size >= MOST_AT_ONCE) return;
      if (this.active.has(task.session)) continue;
      const stop = new AbortController();
      this.active.set(task.session, { task: task.id, stop });
      this.work(task, stop).finally(() => {
        this.active.delete(task.session);
        this.pump();
      });
    }
  }

  /** Ends a task early, also one that still waits. */
  cancel(id: string): void {
    const task = this.parts.tasks.get(id);
    if (!task || isFinal(task.state)) return;
    this.parts.tasks.finish(id, "canceled", "The task was canceled.");
    for (const run of this.active.values()) {
      if (run.task === id) run.stop.abort(new Error("The task was canceled."));
    }
    this.parts.reporter.finished(id);
  }

  private async work(task: Task, stop: AbortController): Promise<void> {
    const { tasks, log, redactor, reporter } = this.parts;
    const began = Date.now();
    tasks.begin(task.id);
    const limit = setTimeout(() => stop.abort(new Error("The task took longer than 15 minutes.")), LONGEST_RUN_MS);
    let end: { state: "completed" | "failed"; answer: string };
    try {
      end = await this.run(task, stop.signal);
    } catch (error) {
      end = { state: "failed", answer: `The agent could not work on this task: ${reason(error)}` };
    } finally {
      clearTimeout(limit);
    }
    const canceled = tasks.get(task.id)?.state === "canceled";
    if (!canceled) {
      tasks.finish(task.id, end.state, shortened(redactor.text(end.answer)));
      reporter.finished(task.id);
    }
    log("task.ended", { task: task.id, state: canceled ? "canceled" : end.state, ms: Date.now() - began });
  }

  private async run(task: Task, signal: AbortSignal): Promise<{ state: "completed" | "failed"; answer: string }> {
    const { env, identity, tools, redactor, log } = this.parts;
    const model = chooseModel(env);
    const session = await Session.load(env.AGENT_BUCKET, redactor, task.session);
    const first = `task-${task.id}`;
    const done = session.indexOf(first);
    if (done >= 0) return remembered(session, done);
    const deltas = new Batch(redactor, (piece) => this.parts.reporter.working(task.id, piece));
    try {
      const summary = await compaction(session.entries, model, signal);
      if (summary) await session.append([{ type: "compaction", ...summary }]);
    } catch (error) {
      log("session.compaction_failed", { task: task.id, reason: reason(error) });
    }
    const outcome = await runAgent({
      sessionId: task.session,
      systemPrompt: systemPrompt(identity, new Date()),
      model,
      tools: tools.map((tool) => guarded(tool, redactor)),
      history: session.entries,
      text: task.text,
      signal,
      onText: (piece) => deltas.push(piece),
    });
    deltas.end();
    if (outcome.error !== undefined) return { state: "failed", answer: failed(outcome.error) };
    const entries = outcome.messages.map((message) => ({ type: "message" as const, message }));
    await session.append(entries, first);
    return { state: "completed", answer: outcome.answer };
  }
}

/** A tool that never gets to see a secret of this Worker, so that it can carry none away. */
function guarded(tool: Tool, redactor: Redactor): Tool {
  return { ...tool, run: (args, signal) => tool.run(redactor.value(args), signal) };
}

/** The run ended and was written to the session, but the restart came before the row was: the answer is there. */
function remembered(session: Session, from: number): { state: "completed"; answer: string } {
  const texts = session.entries.slice(from).flatMap((entry) => {
    if (entry.type !== "message" || entry.message.role !== "assistant") return [];
    const text = entry.message.content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("");
    return text ? [text] : [];
  });
  return { state: "completed", answer: texts.join("\n\n") };
}

function failed(error: string): string {
  return `The model did not answer: ${error.replace(/\s+/g, " ").slice(0, 500)}`;
}

function shortened(answer: string): string {
  if (answer.length <= LONGEST_ANSWER) return answer;
  return `${answer.slice(0, LONGEST_ANSWER)}\n\n[The answer was cut here: it had ${answer.length} characters.]`;
}

/** Gathers pieces of an answer for 50 ms, and keeps secrets out of them. */
class Batch {
  private text = "";
  private timer: number | null = null;
  private readonly clean;

  constructor(
    redactor: Redactor,
    private readonly send: (piece: string) => void,
  ) {
    this.clean = redactor.stream();
  }

  push(piece: string): void {
    this.text += this.clean.push(piece);
    this.timer ??= setTimeout(() => this.flush(), BATCH_MS);
  }

  end(): void {
    this.text += this.clean.end();
    this.flush();
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = null;
    if (this.text) this.send(this.text);
    this.text = "";
  }
}
