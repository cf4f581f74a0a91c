// Which model answers, and how it is reached.

import type { Env } from "../env.ts";

/** The ways to speak to a model. */
export type Api = "anthropic-messages" | "openai-responses" | "openai-completions" | "dev-echo";

/** A model that can be asked. */
export interface ModelChoice {
  readonly provider: string;
  readonly id: string;
  readonly api: Api;
  /** For Anthropic without `/v1`, for OpenAI with it. */
  readonly baseUrl: string;
  readonly apiKey: string;
  readonly contextWindow: number;
  readonly maxTokens: number;
}

/** The model that the environment names. Throws, in words for the sender of the task, if it cannot be used. */
export function chooseModel(env: Env): ModelChoice {
  const name = env.OPENCLAW_MODEL ?? "";
  const slash = name.indexOf("/");
  if (slash < 1 || slash === name.length - 1) throw new Error("This agent has no usable model (OPENCLAW_MODEL).");
  const provider = name.slice(0, slash);
  const id = name.slice(slash + 1);
  switch (provider) {
    case "anthropic":
      return {
        provider,
        id,
        api: "anthropic-messages",
        baseUrl: base(env.ANTHROPIC_BASE_URL, "https://api.anthropic.com"),
        apiKey: key(env.ANTHROPIC_API_KEY, provider),
        contextWindow: 200_000,
        maxTokens: 8_192,
      };
    case "openai":
      return {
        provider,
        id,
        api: env.OPENAI_API === "completions" ? "openai-completions" : "openai-responses",
        baseUrl: base(env.OPENAI_BASE_URL, "https://api.openai.com/v1"),
        apiKey: key(env.OPENAI_API_KEY, provider),
        contextWindow: 128_000,
        maxTokens: 8_192,
      };
    case "dev":
      if (id !== "echo") throw new Error("The only model of provider dev is dev/echo.");
      return { provider, id, api: "dev-echo", baseUrl: "", apiKey: "none", contextWindow: 200_000, maxTokens: 8_192 };
    default:
      throw new Error(`This runtime cannot reach models of provider ${provider}.`);
  }
}

function base(given: string | undefined, usual: string): string {
  return (given || usual).replace(/\/+$/, "");
}

function key(given: string | undefined, provider: string): string {
  if (!given) throw new Error(`This agent has no API key for ${provider}.`);
  return given;
}
