// Modules and constants that the build supplies.

/** Version of the engine, from the pin in package.json. */
declare const ENGINE_VERSION: string;
/** Hash of this runtime's sources. */
declare const RUNTIME_REVISION: string;

declare module "*/IDENTITY.md" {
  const text: string;
  export default text;
}

/** The part of OpenClaw's agent core that we use; its package publishes no types for it. */
declare module "openclaw/plugin-sdk/agent-core" {
  import type { AssistantMessageEvent, CompleteSimpleFn, Message, Model, StreamFn, TextContent } from "@openclaw/ai";

  /** A message as the transcript holds it. */
  export type AgentMessage = Message | CompactionSummary;

  /** What `buildSessionContext` puts in the place of messages that were summed up. */
  export interface CompactionSummary {
    role: "compactionSummary";
    summary: string;
    tokensBefore: number;
    timestamp: number;
  }

  export interface AgentTool {
    name: string;
    label: string;
    description: string;
    parameters: Record<string, unknown>;
    execute(
      id: string,
      args: Record<string, unknown>,
      signal?: AbortSignal,
    ): Promise<{ content: TextContent[]; details: unknown }>;
  }

  export type AgentEvent =
    | { type: "message_update"; message: AgentMessage; assistantMessageEvent: AssistantMessageEvent }
    | { type: "message_start" | "message_end"; message: AgentMessage }
    | { type: "tool_execution_start"; toolCallId: string; toolName: string }
    | {
        type: "agent_start" | "turn_start" | "turn_end" | "agent_end" | "tool_execution_update" | "tool_execution_end";
      };

  export interface AgentRuntime {
    streamSimple: StreamFn;
    completeSimple: CompleteSimpleFn;
  }

  export class Agent {
    constructor(options: {
      runtime: AgentRuntime;
      streamFn: StreamFn;
      sessionId: string;
      getApiKey: (provider: string) => string | undefined;
      /** Without it the model gets to see nothing but plain messages. */
      convertToLlm: (messages: AgentMessage[]) => Message[];
      initialState: {
        systemPrompt: string;
        model: Model;
        tools: AgentTool[];
        messages: AgentMessage[];
        thinkingLevel: "off";
      };
    });
    readonly state: { messages: AgentMessage[] };
    subscribe(listener: (event: AgentEvent) => void): () => void;
    prompt(text: string): Promise<void>;
    abort(reason?: unknown): void;
  }

  interface EntryBase {
    id: string;
    parentId: string | null;
    timestamp: string;
  }
  export interface MessageEntry extends EntryBase {
    type: "message";
    message: Message;
  }
  export interface CompactionEntry extends EntryBase {
    type: "compaction";
    summary: string;
    firstKeptEntryId: string;
    tokensBefore: number;
    details?: unknown;
  }
  export type SessionEntry = MessageEntry | CompactionEntry;

  export interface CompactionSettings {
    enabled: boolean;
    reserveTokens: number;
    keepRecentTokens: number;
  }
  type Result<T> = { ok: true; value: T } | { ok: false; error: Error };
  export interface Compaction {
    summary: string;
    firstKeptEntryId: string;
    tokensBefore: number;
    details?: unknown;
  }
  const prepared: unique symbol;
  /** Opaque: from `prepareCompaction` to `compact`. */
  export interface PreparedCompaction {
    [prepared]: true;
  }

  export const COMPACTION_SUMMARY_PREFIX: string;
  export const COMPACTION_SUMMARY_SUFFIX: string;
  export const DEFAULT_COMPACTION_SETTINGS: CompactionSettings;
  export function buildSessionContext(entries: SessionEntry[]): { messages: AgentMessage[] };
  export function estimateContextTokens(messages: AgentMessage[]): { tokens: number };
  export function shouldCompact(tokens: number, contextWindow: number, settings: CompactionSettings): boolean;
  export function prepareCompaction(
    entries: SessionEntry[],
    settings: CompactionSettings,
  ): Result<PreparedCompaction | undefined>;
  export function compact(
    preparation: PreparedCompaction,
    model: Model,
    apiKey: string | undefined,
    headers: undefined,
    customInstructions: undefined,
    signal: AbortSignal,
    thinkingLevel: "off",
    streamFn: StreamFn,
  ): Promise<Result<Compaction>>;
  export function uuidv7(): string;
}
