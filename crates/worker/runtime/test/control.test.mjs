// The Worker's HTTP surface.
import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { test } from "node:test";
import { until } from "./support/wait.mjs";
import { AUTH_TOKEN, CONTROL_TOKEN, stage } from "./support/worker.mjs";

test("strangers learn the name and nothing else", async (t) => {
  const { agent } = await stage(t);
  const health = await agent.request("GET", "/healthz", "");
  assert.deepEqual([health.status, await health.json()], [200, { name: "ada" }]);
  const tries = [
    ["GET", "/", 404],
    ["POST", "/healthz", 404],
    ["GET", "/wake", 404],
    ["POST", "/status", 404],
    ["POST", "/wake", 401],
    ["GET", "/status", 401],
  ];
  for (const [method, path, status] of tries) {
    for (const token of ["", "wrong", `${CONTROL_TOKEN}x`, CONTROL_TOKEN.slice(1)]) {
      assert.equal((await agent.request(method, path, token)).status, status, `${method} ${path}`);
    }
  }
  assert.equal(agent.hub.peers.length, 0, "nothing woke it");
});

test("without a control token nobody gets in", async (t) => {
  const { agent } = await stage(t, { CONTROL_TOKEN: "" });
  for (const token of ["", "undefined", "null"]) {
    assert.equal((await agent.request("GET", "/status", token)).status, 401);
  }
});

test("the status shows try, revision, connection, and fingerprints instead of secrets", async (t) => {
  const { agent } = await stage(t, { ANTHROPIC_API_KEY: "sk-ant-käse-0001", GROQ_API_KEY: "gsk_other-provider" });
  const before = await agent.status();
  assert.equal(before.connection.state, "asleep");
  await agent.online();
  const status = await until("registered", async () => {
    const now = await agent.status();
    return now.connection.state === "registered" && now;
  });
  assert.equal(status.name, "ada");
  assert.equal(status.try, "01TRY");
  assert.equal(status.secrets_rev, "rev1");
  assert.equal(status.runtime.bundle, "ab".repeat(32));
  assert.equal(status.model, "dev/echo");
  assert.equal(status.keep_alive, true);
  assert.deepEqual(status.tasks, { queued: 0, running: 0, completed: 0, failed: 0, canceled: 0 });
  const secrets = {
    ANTHROPIC_API_KEY: "sk-ant-käse-0001",
    CONTROL_TOKEN,
    GROQ_API_KEY: "gsk_other-provider",
    KEEP_ALIVE: "true",
    OPENCLAW_MODEL: "dev/echo",
    SOCIETY_AI_AUTH_TOKEN: AUTH_TOKEN,
  };
  const wanted = Object.entries(secrets).map(([name, value]) => [
    name,
    createHmac("sha256", CONTROL_TOKEN).update(`${name}\0${value}`).digest("hex"),
  ]);
  assert.deepEqual(status.fingerprints, Object.fromEntries(wanted));
});
