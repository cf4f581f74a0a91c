// Copies of what this version runs with, for people who open the bucket and for a move into a full OpenClaw. The truth is
// the text module; nothing here is ever read back, except to see whether it is written already.

import { ENGINE } from "./engine.ts";
import type { Env } from "./env.ts";
import { sha256 } from "./fingerprint.ts";
import type { Identity } from "./identity.ts";
import { skillFile } from "./tools/skills.ts";

const MARKER = "meta/runtime.json";

/** Writes the copies once per version of code and identity. */
export async function writeWorkspace(env: Env, markdown: string, identity: Identity): Promise<void> {
  const facts = {
    agent: env.AGENT_NAME,
    engine: `${ENGINE.name} ${ENGINE.version}`,
    runtime_revision: RUNTIME_REVISION,
    identity_sha256: await sha256(markdown),
  };
  const marker = `${JSON.stringify(facts, null, 2)}\n`;
  const written = await env.AGENT_BUCKET.get(MARKER);
  if (written && (await written.text()) === marker) return;
  const files: [string, string][] = [
    ["workspace/IDENTITY.md", markdown],
    ["workspace/SOUL.md", `${identity.persona}\n`],
    ["workspace/AGENTS.md", `${identity.instructions}\n`],
    ...identity.skills.map((skill): [string, string] => [`workspace/skills/${skill.id}/SKILL.md`, skillFile(skill)]),
  ];
  for (const [key, text] of files) {
    await env.AGENT_BUCKET.put(key, text, { httpMetadata: { contentType: "text/markdown; charset=utf-8" } });
  }
  await env.AGENT_BUCKET.put(MARKER, marker, { httpMetadata: { contentType: "application/json" } });
}
