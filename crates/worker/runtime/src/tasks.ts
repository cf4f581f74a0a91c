// The tasks of this agent, in the Durable Object's SQLite: a task stands here before anything is done for it, so that
// neither a restart nor a cut connection loses one.

/** What can become of a task. */
export type TaskState = "queued" | "running" | "completed" | "failed" | "canceled";

/** One task. */
export interface Task {
  readonly id: string;
  readonly session: string;
  readonly state: TaskState;
  /** What was asked. */
  readonly text: string;
  /** What was answered, or why not. */
  readonly answer: string;
  /** How often a run was begun. */
  readonly attempts: number;
}

type Row = { [K in keyof Task]: Task[K] & SqlStorageValue };

/** A task whose run was cut this often is not tried again. */
const MOST_ATTEMPTS = 2;
const KEEP_MS = 7 * 24 * 3600 * 1000;
const FINAL = "('completed', 'failed', 'canceled')";
const COLUMNS = "id, session, state, text, answer, attempts";

/** Whether nothing more will happen to a task. */
export function isFinal(state: TaskState): boolean {
  return state !== "queued" && state !== "running";
}

/** The table. Every method is one or two statements, done when it returns. */
export class Tasks {
  constructor(private readonly sql: SqlStorage) {
    sql.exec(`CREATE TABLE IF NOT EXISTS task (
      seq INTEGER PRIMARY KEY AUTOINCREMENT,
      id TEXT NOT NULL UNIQUE,
      session TEXT NOT NULL,
      state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'completed', 'failed', 'canceled')),
      text TEXT NOT NULL,
      answer TEXT NOT NULL DEFAULT '',
      attempts INTEGER NOT NULL DEFAULT 0,
      sent INTEGER NOT NULL DEFAULT 0,
      acknowledged INTEGER NOT NULL DEFAULT 0,
      changed_at INTEGER NOT NULL
    ) STRICT`);
  }

  /** Takes a task in. Gives the row that is there already if the id was seen before. */
  add(id: string, session: string, text: string): Task | undefined {
    const known = this.get(id);
    if (known) return known;
    this.sql.exec(
      "INSERT INTO task (id, session, state, text, changed_at) VALUES (?, ?, 'queued', ?, ?)",
      id,
      session,
      text,
      Date.now(),
    );
    return undefined;
  }

  /** The task of this id. */
  get(id: string): Task | undefined {
    return this.sql.exec<Row>(`SELECT ${COLUMNS} FROM task WHERE id = ?`, id).toArray()[0];
  }

  /** Everything that waits, oldest first. */
  queued(): Task[] {
    return this.sql.exec<Row>(`SELECT ${COLUMNS} FROM task WHERE state = 'queued' ORDER BY seq`).toArray();
  }

  /** Counts one more attempt. */
  begin(id: string): void {
    this.sql.exec(
      "UPDATE task SET state = 'running', attempts = attempts + 1, changed_at = ? WHERE id = ?",
      Date.now(),
      id,
    );
  }

  /** Writes the end of a task down; a task that has ended stays as it is. */
  finish(id: string, state: "completed" | "failed" | "canceled", answer: string): void {
    this.sql.exec(
      `UPDATE task SET state = ?, answer = ?, changed_at = ? WHERE id = ? AND state NOT IN ${FINAL}`,
      state,
      answer,
      Date.now(),
      id,
    );
  }

  /** After a restart: what was running is tried once more, or given up with an honest word. */
  recover(): void {
    const now = Date.now();
    this.sql.exec(
      `UPDATE task SET state = 'failed', changed_at = ?, answer = ? WHERE state = 'running' AND attempts >= ?`,
      now,
      "The agent was restarted twice while it worked on this task, so it gave up. Please send the task again.",
      MOST_ATTEMPTS,
    );
    this.sql.exec("UPDATE task SET state = 'queued', changed_at = ? WHERE state = 'running'", now);
  }

  /** Ended tasks whose answer the Hub may not have: never sent, or sent after `since` without an acknowledgement. */
  unsent(since: number): Task[] {
    return this.sql
      .exec<Row>(
        `SELECT ${COLUMNS} FROM task WHERE state IN ${FINAL} AND acknowledged = 0 AND (sent = 0 OR sent > ?) ORDER BY seq`,
        since,
      )
      .toArray();
  }

  /** The answer was handed to a connection. */
  markSent(id: string): void {
    this.sql.exec("UPDATE task SET sent = ? WHERE id = ?", Date.now(), id);
  }

  /** The Hub said that it has the answer. */
  markAcknowledged(id: string): void {
    this.sql.exec("UPDATE task SET acknowledged = 1 WHERE id = ?", id);
  }

  /** Forgets what ended more than seven days ago. */
  prune(): void {
    this.sql.exec(`DELETE FROM task WHERE state IN ${FINAL} AND changed_at < ?`, Date.now() - KEEP_MS);
  }

  /** How many tasks are in each state. */
  counts(): Record<TaskState, number> {
    const counts = { queued: 0, running: 0, completed: 0, failed: 0, canceled: 0 };
    const rows = this.sql.exec<{ state: TaskState; n: number }>("SELECT state, count(*) AS n FROM task GROUP BY state");
    for (const { state, n } of rows) counts[state] = n;
    return counts;
  }
}
