// `dev/echo`: a stand-in for a model that needs no key. It follows fixed rules, so that a demonstration or a test can say
// beforehand what the agent will do: it writes notes, reads and lists them, asks other agents, and remembers its session.

/** What the conversation holds, oldest first. */
export type Turn =
  | { readonly role: "user"; readonly text: string }
  | { readonly role: "assistant"; readonly text: string }
  | { readonly role: "tool"; readonly tool: string; readonly text: string; readonly failed: boolean };

/** What the stand-in does next. */
export type Move =
  | { readonly kind: "say"; readonly text: string; readonly afterMs: number }
  | { readonly kind: "call"; readonly tool: string; readonly args: Record<string, unknown> };

const LONGEST_WAIT_MS = 60_000;
const say = (text: string, afterMs = 0): Move => ({ kind: "say", text, afterMs });
const call = (tool: string, args: Record<string, unknown>): Move => ({ kind: "call", tool, args });

/** Decides from the conversation alone. */
export function echo(turns: readonly Turn[]): Move {
  const last = turns.at(-1);
  if (last?.role === "tool") return say(report(last));
  if (last?.role !== "user") return say("There is nothing to answer.");
  return reply(last.text.trim(), turns.slice(0, -1));
}

function reply(text: string, before: readonly Turn[]): Move {
  const wait = /\bwait (\d+) ?(ms|s|seconds?)\b/i.exec(text);
  if (wait) {
    const ms = Math.min(LONGEST_WAIT_MS, Number(wait[1]) * (wait[2]?.toLowerCase() === "ms" ? 1 : 1000));
    return say(`Waited ${ms} ms.`, ms);
  }
  const asked = /^(?:please )?ask ([a-z0-9-]+)(?: to|:|,)? +(.+)$/is.exec(text);
  if (asked?.[1] && asked[2]) return call("delegate_task", { agent_id: asked[1], message: asked[2].trim() });
  if (/\b(find|search|look)\b.*\bagents?\b/i.test(text)) return call("search_agents", { query: text });
  const url = /https?:\/\/\S+/.exec(text);
  if (url && /\b(fetch|get|open|download)\b/i.test(text)) return call("http_fetch", { url: url[0] });
  if (recalls(text)) return say(recollection(before));
  const file = /\b[\w-]+(?:\/[\w.-]+)*\.[a-z]{1,5}\b/i.exec(text)?.[0];
  if (file && /^(?:please )?(?:read|show|open|print)\b/i.test(text)) return call("artifact_read", { path: file });
  if (/\b(list|show|which)\b.*\b(files|artifacts|notes)\b/i.test(text)) return call("artifact_list", {});
  if (/\b(save|write|store|record|draft|note|jot)\b/i.test(text)) {
    const content = body(text);
    return call("artifact_write", { path: file ?? `notes/${slug(content)}.md`, content: `${content}\n` });
  }
  if (/^(?:please )?remember\b/i.test(text)) return say(`I will remember that: ${body(text)}`);
  return say(`Echo: ${text}`);
}

/** Whether somebody asks what was said before, rather than says something to be kept. */
function recalls(text: string): boolean {
  if (/^(?:please )?remember (?:that|:|this)/i.test(text)) return false;
  const past = /\b(did i|told|said|asked|mentioned|remember|recall|earlier|before|last time|previous(?:ly)?|so far)\b/i;
  return (
    past.test(text) &&
    (/\?/.test(text) || /^(?:please )?(?:what|which|who|tell|repeat|recall|summari[sz]e|remind)\b/i.test(text))
  );
}

function recollection(before: readonly Turn[]): string {
  const said = before.flatMap((turn) => (turn.role === "user" ? [turn.text.trim()] : []));
  if (said.length === 0) return "Nothing yet: this is the beginning of our session.";
  const files = before.flatMap((turn) => (turn.role === "tool" && !turn.failed ? (written(turn.text) ?? []) : []));
  const kept = files.length > 0 ? `\n\nI wrote: ${[...new Set(files)].join(", ")}.` : "";
  return `You told me before:\n${said.map((one, i) => `${i + 1}. ${one}`).join("\n")}${kept}`;
}

function report(result: Turn & { role: "tool" }): string {
  if (result.failed) return `The tool ${result.tool} failed: ${result.text}`;
  switch (result.tool) {
    case "artifact_write":
      return `Done. ${result.text}`;
    case "artifact_list":
      return `These are my artifacts:\n${result.text}`;
    default:
      return result.text;
  }
}

/** The path in the answer of `artifact_write`. */
function written(text: string): string[] | undefined {
  const path = /^Wrote (\S+) /.exec(text)?.[1];
  return path ? [path] : undefined;
}

/** What is to be kept: quoted text, or what follows a colon, or what follows the request's own words. */
function body(text: string): string {
  const quoted = /["“]([^"”]+)["”]/.exec(text)?.[1];
  if (quoted) return quoted.trim();
  const colon = /:\s+(.+)$/s.exec(text)?.[1];
  if (colon) return colon.trim();
  const words =
    /^(?:please )?(?:could you )?(?:save|write|store|record|draft|note|jot|remember)(?: down)?(?: (?:a|the|this) note)?(?: (?:that|saying|about))? +(.+)$/is;
  return (words.exec(text)?.[1] ?? text).trim();
}

function slug(text: string): string {
  const words = text.toLowerCase().match(/[a-z0-9]+/g) ?? [];
  return words.slice(0, 6).join("-").slice(0, 48) || "note";
}
