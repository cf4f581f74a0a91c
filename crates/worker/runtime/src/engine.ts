// The only file that touches the engine: OpenClaw's agent core and its model layer.

import {
  type AssistantMessage,
  configureAiTransportHost,
  createAssistantMessageEventStream,
  createLlmRuntime,
  getAiTransportHost,
  type Message,
  type Model,
  type StreamFn,
  type ToolCall,
} from "@openclaw/ai";
import { registerBuiltInApiProviders } from "@openclaw/ai/providers";
import {
  Agent,
  type AgentMessage,
  type AgentTool,
  buildSessionContext,
  COMPACTION_SUMMARY_PREFIX,
  COMPACTION_SUMMARY_SUFFIX,
  compact,
  DEFAULT_COMPACTION_SETTINGS,
  estimateContextTokens,
  prepareCompaction,
  type SessionEntry,
  shouldCompact,
} from "openclaw/plugin-sdk/agent-core";
import type { ModelChoice } from "./model/choice.ts";
import { echo, type Turn } from "./model/echo.ts";
import { pause, retryingFetch } from "./model/retry.ts";

export type { SessionEntry } from "openclaw/plugin-sdk/agent-core";

/** What people call the engine. */
export const ENGINE = { name: "openclaw-agent-core", version: ENGINE_VERSION };

/** A tool as the engine calls it; it throws to report an error to the model. */
export interface Tool {
  readonly name: string;
  readonly label: string;
  readonly description: string;
  /** JSON Schema. */
  readonly parameters: Record<string, unknown>;
  run(args: Record<string, unknown>, signal: AbortSignal): Promise<string>;
}

/** One run of the agent loop: from a text to the answer. */
export interface Run {
  readonly sessionId: string;
  readonly systemPrompt: string;
  readonly model: ModelChoice;
  readonly tools: readonly Tool[];
  /** What the session holds already. */
  readonly history: readonly SessionEntry[];
  readonly text: string;
  readonly signal: AbortSignal;
  /** Gets the answer piece by piece; the pieces together are the whole answer. */
  onText(piece: string): void;
}

/** How a run ended. `messages` is what belongs into the session, also after a failure. */
export interface Outcome {
  readonly answer: string;
  readonly error: string | undefined;
  readonly messages: readonly Message[];
}

const runtime = createLlmRuntime();
registerBuiltInApiProviders(runtime.registry);

/** Sets how long to wait before a busy model is asked again. */
export function prepareEngine(firstRetryMs: number): void {
  const fetching = retryingFetch(firstRetryMs);
  configureAiTransportHost({ ...getAiTransportHost(), buildModelFetch: () => fetching });
}

/** Runs the loop until the model has answered, failed, or `signal` fired. Does not reject. */
export async function runAgent(run: Run): Promise<Outcome> {
  const pieces: string[] = [];
  const emit = (piece: string) => {
    pieces.push(piece);
    run.onText(piece);
  };
  const before = buildSessionContext([...run.history]).messages;
  const agent = new Agent({
    runtime: { streamSimple: runtime.streamSimple, completeSimple: runtime.completeSimple },
    streamFn: streamFor(run.model),
    sessionId: run.sessionId,
    getApiKey: () => run.model.apiKey,
    convertToLlm: (messages) => messages.map(forModel),
    initialState: {
      systemPrompt: run.systemPrompt,
      model: plain(run.model),
      tools: run.tools.map(adapt),
      messages: before,
      thinkingLevel: "off",
    },
  });
  let open = false;
  agent.subscribe((event) => {
    if (event.type === "message_start" && event.message.role === "assistant") open = false;
    if (event.type !== "message_update" || event.assistantMessageEvent.type !== "text_delta") return;
    // Text before and after a tool call: two paragraphs of one answer.
    if (!open && pieces.length > 0) emit("\n\n");
    open = true;
    emit(event.assistantMessageEvent.delta);
  });
  const stop = () => agent.abort(run.signal.reason);
  run.signal.addEventListener("abort", stop, { once: true });
  let thrown: string | undefined;
  try {
    run.signal.throwIfAborted();
    await agent.prompt(run.text);
  } catch (error) {
    thrown = error instanceof Error ? error.message : String(error);
  } finally {
    run.signal.removeEventListener("abort", stop);
  }
  const messages = agent.state.messages.slice(before.length).map(forModel);
  return { answer: pieces.join(""), error: thrown ?? failure(messages), messages };
}

/** A summary that takes the place of the older part of a session, once the session fills most of the model's window. */
export async function compaction(
  history: readonly SessionEntry[],
  model: ModelChoice,
  signal: AbortSignal,
): Promise<{ summary: string; firstKeptEntryId: string; tokensBefore: number; details?: unknown } | undefined> {
  const entries = [...history];
  const settings = DEFAULT_COMPACTION_SETTINGS;
  const { tokens } = estimateContextTokens(buildSessionContext(entries).messages);
  if (!shouldCompact(tokens, model.contextWindow, settings)) return undefined;
  const prepared = prepareCompaction(entries, settings);
  if (!prepared.ok) throw prepared.error;
  if (!prepared.value) return undefined;
  const done = await compact(
    prepared.value,
    plain(model),
    model.apiKey,
    undefined,
    undefined,
    signal,
    "off",
    streamFor(model),
  );
  if (!done.ok) throw done.error;
  return done.value;
}

/** The engine would leave a summary out of what the model sees; a full OpenClaw wraps it in the same words. */
function forModel(message: AgentMessage): Message {
  if (message.role !== "compactionSummary") return message;
  const text = COMPACTION_SUMMARY_PREFIX + message.summary + COMPACTION_SUMMARY_SUFFIX;
  return { role: "user", content: [{ type: "text", text }], timestamp: message.timestamp };
}

function failure(messages: readonly Message[]): string | undefined {
  const last = messages.findLast((message) => message.role === "assistant");
  if (!last) return "the model gave no answer";
  if (last.stopReason === "error" || last.stopReason === "aborted") return last.errorMessage ?? "the model failed";
  return undefined;
}

function plain(model: ModelChoice): Model {
  return {
    id: model.id,
    name: model.id,
    provider: model.provider,
    api: model.api,
    baseUrl: model.baseUrl,
    reasoning: false,
    input: ["text"],
    cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0 },
    contextWindow: model.contextWindow,
    maxTokens: model.maxTokens,
  };
}

function adapt(tool: Tool): AgentTool {
  return {
    name: tool.name,
    label: tool.label,
    description: tool.description,
    parameters: tool.parameters,
    async execute(_id, args, signal) {
      const text = await tool.run(args, signal ?? new AbortController().signal);
      return { content: [{ type: "text", text }], details: {} };
    },
  };
}

function streamFor(model: ModelChoice): StreamFn {
  return model.api === "dev-echo" ? streamEcho : runtime.streamSimple;
}

const MOST_PIECES = 100;

/** Lets the stand-in model answer in the form of a real one, word by word where the answer is short. */
const streamEcho: StreamFn = (model, context, options) => {
  const stream = createAssistantMessageEventStream();
  const message: AssistantMessage = {
    role: "assistant",
    content: [],
    api: model.api,
    provider: model.provider,
    model: model.id,
    usage: {
      input: 0,
      output: 0,
      cacheRead: 0,
      cacheWrite: 0,
      totalTokens: 0,
      cost: { input: 0, output: 0, cacheRead: 0, cacheWrite: 0, total: 0 },
    },
    stopReason: "stop",
    timestamp: Date.now(),
  };
  const speak = async () => {
    const move = echo(context.messages.map(turn));
    stream.push({ type: "start", partial: message });
    if (move.kind === "call") {
      const toolCall: ToolCall = {
        type: "toolCall",
        id: `echo-${context.messages.length}`,
        name: move.tool,
        arguments: move.args,
      };
      message.content.push(toolCall);
      message.stopReason = "toolUse";
      stream.push({ type: "toolcall_start", contentIndex: 0, partial: message });
      stream.push({ type: "toolcall_end", contentIndex: 0, toolCall, partial: message });
      stream.push({ type: "done", reason: "toolUse", message });
      return;
    }
    const block = { type: "text" as const, text: "" };
    message.content.push(block);
    stream.push({ type: "text_start", contentIndex: 0, partial: message });
    await pause(move.afterMs, options?.signal);
    const words = move.text.match(/\s*\S+\s*/g) ?? [];
    const step = Math.ceil(words.length / MOST_PIECES);
    for (let at = 0; at < words.length; at += step) {
      const delta = words.slice(at, at + step).join("");
      block.text += delta;
      stream.push({ type: "text_delta", contentIndex: 0, delta, partial: message });
      await pause(5, options?.signal);
    }
    stream.push({ type: "text_end", contentIndex: 0, content: block.text, partial: message });
    stream.push({ type: "done", reason: "stop", message });
  };
  speak()
    .catch((error: unknown) => {
      message.stopReason = options?.signal?.aborted ? "aborted" : "error";
      message.errorMessage = error instanceof Error ? error.message : String(error);
      stream.push({ type: "error", reason: message.stopReason, error: message });
    })
    .finally(() => stream.end());
  return stream;
};

function turn(message: Message): Turn {
  const text =
    typeof message.content === "string"
      ? message.content
      : message.content.flatMap((part) => (part.type === "text" ? [part.text] : [])).join("\n");
  if (message.role !== "toolResult") return { role: message.role, text };
  return { role: "tool", tool: message.toolName, text, failed: message.isError };
}
