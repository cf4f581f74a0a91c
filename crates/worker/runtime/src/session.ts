// Sessions: one JSONL file each in the bucket, laid out as in `~/.openclaw`, so that a bucket can move into a full OpenClaw.

import type { SessionEntry } from "./engine.ts";
import { sha256 } from "./fingerprint.ts";
import type { Redactor } from "./redact.ts";

const FOLDER = "agents/main/sessions/";
const VERSION = 4;
const LONGEST_NAME = 200;

/** What an entry is made of, apart from its place in the session. */
export type NewEntry =
  | Pick<SessionEntry & { type: "message" }, "type" | "message">
  | Omit<SessionEntry & { type: "compaction" }, "id" | "parentId" | "timestamp">;

/** A session as it stands in the bucket. Lines of kinds that we do not know are kept as they are. */
export class Session {
  private constructor(
    private readonly bucket: R2Bucket,
    private readonly redactor: Redactor,
    private readonly key: string,
    private text: string,
    readonly entries: SessionEntry[],
  ) {}

  /** Reads a session; one that is not there is new. */
  static async load(bucket: R2Bucket, redactor: Redactor, id: string): Promise<Session> {
    const key = await sessionKey(id);
    const object = await bucket.get(key);
    if (object) {
      const text = await object.text();
      return new Session(bucket, redactor, key, text.endsWith("\n") ? text : `${text}\n`, parse(text));
    }
    const header = { type: "session", version: VERSION, id, timestamp: new Date().toISOString(), cwd: "/workspace" };
    return new Session(bucket, redactor, key, line(header), []);
  }

  /** The entry with this id, if the session has it. */
  indexOf(id: string): number {
    return this.entries.findIndex((entry) => entry.id === id);
  }

  /** Adds entries and writes the file. The first one may bring its id. Secrets of this Worker are taken out. */
  async append(news: readonly NewEntry[], firstId?: string): Promise<void> {
    let parentId = this.entries.at(-1)?.id ?? null;
    let text = this.text;
    const added: SessionEntry[] = [];
    for (const entry of this.redactor.value(news)) {
      const id: string = added.length === 0 && firstId ? firstId : crypto.randomUUID();
      const placed: SessionEntry = { ...entry, id, parentId, timestamp: new Date().toISOString() };
      added.push(placed);
      text += line(placed);
      parentId = id;
    }
    await this.bucket.put(this.key, text, { httpMetadata: { contentType: "application/jsonl" } });
    this.text = text;
    this.entries.push(...added);
  }
}

/** Where a session's file is: characters that mean something in paths or URLs are encoded, long ids become a hash. */
export async function sessionKey(id: string): Promise<string> {
  const encode = (char: string) =>
    [...new TextEncoder().encode(char)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join("");
  const name = id.replace(/[^A-Za-z0-9_-]/gu, encode);
  return `${FOLDER}${name.length > 0 && name.length <= LONGEST_NAME ? name : await sha256(id)}.jsonl`;
}

function line(value: unknown): string {
  return `${JSON.stringify(value)}\n`;
}

/** Entries that the engine can replay; a torn or foreign line is passed over. */
function parse(text: string): SessionEntry[] {
  return text.split("\n").flatMap((one) => {
    try {
      const entry = JSON.parse(one) as SessionEntry;
      const known = entry.type === "message" ? entry.message?.role : entry.type === "compaction" && entry.summary;
      return known && typeof entry.id === "string" ? [entry] : [];
    } catch {
      return [];
    }
  });
}
