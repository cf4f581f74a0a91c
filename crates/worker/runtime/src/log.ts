// One JSON line per event, never with what people or models wrote.

import type { Redactor } from "./redact.ts";

/** Writes an event with a few facts about it. */
export type Log = (event: string, facts?: Record<string, string | number | boolean>) => void;

/** A log that no secret of this Worker gets into. */
export function logTo(redactor: Redactor, agent: string): Log {
  return (event, facts = {}) => console.log(JSON.stringify(redactor.value({ event, agent, ...facts })));
}

/** What an error says, in one line of bounded length. */
export function reason(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replace(/\s+/g, " ").slice(0, 500);
}
