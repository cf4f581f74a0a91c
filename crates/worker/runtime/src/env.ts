// What the Worker finds in its environment. The names are a contract with the controller.

import type { OpenClawAgent } from "./agent.ts";

/** Bindings, plain variables and secrets. Secrets may be absent: a Worker runs before its first key comes. */
export interface Env {
  readonly AGENT: DurableObjectNamespace<OpenClawAgent>;
  readonly AGENT_BUCKET: R2Bucket;

  readonly AGENT_NAME: string;
  readonly SOCIETY_AI_HUB_URL: string;
  /** Names the upload that brought this code. */
  readonly TALON_TRY?: string;
  /** SHA-256 of this code, as the controller uploaded it. */
  readonly TALON_RUNTIME?: string;
  readonly R2_ENDPOINT?: string;
  readonly R2_BUCKET?: string;
  readonly ANTHROPIC_BASE_URL?: string;
  readonly OPENAI_BASE_URL?: string;
  /** `responses` (default) or `completions`. */
  readonly OPENAI_API?: string;
  /** Time between heartbeats in milliseconds; all other times of the connection follow it. */
  readonly HEARTBEAT_MS?: string;

  readonly ANTHROPIC_API_KEY?: string;
  readonly OPENAI_API_KEY?: string;
  readonly SOCIETY_AI_AUTH_TOKEN?: string;
  readonly CONTROL_TOKEN?: string;
  /** `provider/model`. */
  readonly OPENCLAW_MODEL?: string;
  /** `true` (default) or `false`. */
  readonly KEEP_ALIVE?: string;
  readonly R2_ACCESS_KEY_ID?: string;
  readonly R2_SECRET_ACCESS_KEY?: string;
  /** Tells which push of secrets the Worker runs with. */
  readonly TALON_SECRETS_REV?: string;
}

/** Sent openly: neither fingerprinted nor kept out of texts. */
const PLAIN = new Set([
  "AGENT_NAME",
  "SOCIETY_AI_HUB_URL",
  "TALON_TRY",
  "TALON_RUNTIME",
  "TALON_SECRETS_REV",
  "R2_ENDPOINT",
  "R2_BUCKET",
  "ANTHROPIC_BASE_URL",
  "OPENAI_BASE_URL",
  "OPENAI_API",
  "HEARTBEAT_MS",
]);
/** Secrets by transport only: they can be changed without an upload, and are shown. */
const SETTINGS = new Set(["OPENCLAW_MODEL", "KEEP_ALIVE"]);

/** Name and value of everything that came as a secret, in the order of the names. */
export function secrets(env: Env): [name: string, value: string][] {
  return Object.entries(env)
    .filter((one): one is [string, string] => typeof one[1] === "string" && !PLAIN.has(one[0]))
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

/** The values that nobody may read. */
export function confidential(env: Env): string[] {
  return secrets(env)
    .filter(([name]) => !SETTINGS.has(name))
    .map(([, value]) => value);
}

/** Whether the agent stays connected. */
export function keepAlive(env: Env): boolean {
  return env.KEEP_ALIVE !== "false";
}
