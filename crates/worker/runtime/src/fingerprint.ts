// Tells the controller which values this Worker holds, without telling the values.

import { type Env, secrets } from "./env.ts";

const encoder = new TextEncoder();

/** HMAC-SHA256(key, name ‖ 0 ‖ value), in lower-case hex. */
async function fingerprint(key: CryptoKey, name: string, value: string): Promise<string> {
  const mac = await crypto.subtle.sign("HMAC", key, encoder.encode(`${name}\0${value}`));
  return hex(mac);
}

/** A fingerprint for each secret, keyed by this agent's control token; none without such a token. */
export async function fingerprints(env: Env): Promise<Record<string, string>> {
  if (!env.CONTROL_TOKEN) return {};
  const raw = encoder.encode(env.CONTROL_TOKEN);
  const key = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const all: Record<string, string> = {};
  for (const [name, value] of secrets(env)) all[name] = await fingerprint(key, name, value);
  return all;
}

/** SHA-256 of a text in lower-case hex. */
export async function sha256(text: string): Promise<string> {
  return hex(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
}

function hex(bytes: ArrayBuffer): string {
  return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
