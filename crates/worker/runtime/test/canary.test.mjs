// Secrets of the Worker must not leave it, even where a hostile model server repeats them.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { test } from "node:test";
import { startModels } from "./support/models.mjs";
import { stage } from "./support/worker.mjs";

const CANARIES = {
  ANTHROPIC_API_KEY: "canary-anthropic-7f3a91c2+/=d4",
  OPENAI_API_KEY: "canary-openai-0b6e55d8",
  SOCIETY_AI_AUTH_TOKEN: "canary-auth-9c41e7f0",
  CONTROL_TOKEN: "control-0123456789abcdef0123456789abcdef",
  R2_ACCESS_KEY_ID: "canary-r2-id-5d2f8a",
  R2_SECRET_ACCESS_KEY: "canary-r2-secret-e83b17",
};

const forms = Object.values(CANARIES).flatMap((value) => {
  const bytes = Buffer.from(value);
  return [
    value,
    bytes.toString("base64"),
    bytes.toString("hex"),
    encodeURIComponent(value),
    JSON.stringify(value).slice(1, -1),
  ];
});
/** Which canaries are in a text. */
const found = (text) => [...new Set(forms)].filter((form) => text.includes(form));

test("the searcher finds what is planted", () => {
  for (const form of forms) assert.ok(found(`x${form}y`).includes(form));
});

test("no secret in frames, logs, the bucket or the object's files", async (t) => {
  const models = await startModels();
  t.after(() => models.close());
  const { hub, agent } = await stage(t, { ...models.vars("anthropic-messages"), ...CANARIES });
  const key = CANARIES.ANTHROPIC_API_KEY;
  const peer = await agent.online();
  const ask = async (id, ...steps) => {
    models.script.splice(0, models.script.length, ...steps);
    peer.task(id, "s1", `Hello ${id}`);
    return hub.ended(id);
  };
  const denied = await ask("denied", {
    status: 401,
    message: `the key ${key} is wrong, not ${CANARIES.OPENAI_API_KEY}`,
  });
  assert.equal(denied.state, "failed");
  const text = [...`You sent me ${key}, did you not?`];
  assert.equal((await ask("spelled", { text })).text, "You sent me [redacted], did you not?");
  const tool = { name: "artifact_write", args: { path: "leak.txt", content: Object.values(CANARIES).join("\n") } };
  await ask("tool", { tool }, { text: ["Done."] });
  assert.ok(agent.r2.objects.has("workspace/artifacts/leak.txt"));
  await ask(
    "path",
    { tool: { name: "artifact_write", args: { path: `${key}.txt`, content: "x" } } },
    { text: ["Done."] },
  );
  // What goes to others through the Hub, what comes back from a tool that refuses, and a stream that ends in an error.
  const all = Object.values(CANARIES).join(" ");
  hub.behaviour.methods["agent.search"] = () => ({ result: { items: [] } });
  hub.behaviour.methods["agent.send_task"] = () => ({ error: { code: -32000, message: `no agent; you are ${key}` } });
  for (const [name, args] of [
    ["search_agents", { query: `who knows ${all}?` }],
    ["delegate_task", { agent_id: "bob", message: all, skill_id: key }],
    ["http_fetch", { url: `http://127.0.0.1/?key=${encodeURIComponent(key)}` }],
    ["artifact_read", { path: `${key}/none.txt` }],
    ["no_such_tool", { text: all }],
  ]) {
    await ask(`tool-${name}`, { tool: { name, args } }, { text: ["Done."] });
  }
  const asked = ["agent.search", "agent.send_task"].map((m) => hub.frames().some((frame) => frame.method === m));
  assert.deepEqual(asked, [true, true], "both were asked of the Hub");
  const cut = await ask("cut", { text: [`${key} `, `and ${all}`], cut: true }, { text: ["Again."] });
  assert.deepEqual(found(cut.text), []);
  const status = JSON.stringify([await agent.status(), await agent.wake()]);
  await agent.kill();

  assert.deepEqual(
    models.requests.map((request) => request.headers["x-api-key"]).filter((sent) => sent !== key),
    [],
    "the provider gets the key",
  );
  const registrations = hub.frames().filter((frame) => frame.method === "agent.register");
  for (const frame of registrations) {
    assert.equal(frame.params.auth_token, CANARIES.SOCIETY_AI_AUTH_TOKEN);
    frame.params.auth_token = "";
  }
  assert.deepEqual(found(JSON.stringify(hub.frames())), [], "frames");
  assert.deepEqual(found(agent.output), [], "logs");
  assert.deepEqual(found(status), [], "status");
  for (const [name, object] of agent.r2.objects) {
    assert.deepEqual(found(`${name}\n${object.body.toString("latin1")}`), [], `the bucket: ${name}`);
  }
  const state = path.join(agent.dir, "state");
  const files = readdirSync(state, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.ok(files.length > 0);
  for (const file of files) {
    const bytes = readFileSync(path.join(file.parentPath ?? file.path, file.name));
    assert.deepEqual(found(bytes.toString("latin1")), [], `files of workerd: ${file.name}`);
  }
});
