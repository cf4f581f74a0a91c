// What happens to tasks when things go wrong around them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { startModels } from "./support/models.mjs";
import { until } from "./support/wait.mjs";
import { stage } from "./support/worker.mjs";

const reconnected = (hub, old) => until("a new connection", () => hub.peers.find((p) => p !== old && p.registered));

test("the same task twice is worked on once and answered from the row", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  peer.task("t1", "s1", "wait 300 ms");
  peer.task("t1", "s1", "wait 300 ms");
  await hub.ended("t1");
  peer.task("t1", "s1", "wait 300 ms");
  await until("a second answer", () => hub.completions("t1").length === 2);
  assert.equal(hub.completions("t1")[1].params.status.message.parts[0].text, "Waited 300 ms.");
  peer.task("t2", "s1", "What did I tell you before?");
  assert.match((await hub.ended("t2")).text, /^You told me before:\n1\. wait 300 ms$/, "it was heard once");
});

test("a connection cut in mid-task: the answer goes to the next connection, once", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  peer.task("t1", "s1", "wait 500 ms");
  await until("work has begun", () => peer.frames.some((frame) => frame.method === "task.status"));
  peer.socket.terminate();
  const again = await reconnected(hub, peer);
  assert.deepEqual(await hub.ended("t1"), { state: "completed", text: "Waited 500 ms." });
  again.socket.terminate();
  const third = await until("a third connection", () =>
    hub.peers.find((p) => p !== peer && p !== again && p.registered),
  );
  third.task("t2", "s2", "hello");
  await hub.ended("t2");
  assert.equal(hub.completions("t1").length, 1, "an acknowledged answer is not sent again");
});

test("an answer that the Hub did not acknowledge is sent again on the next connection", async (t) => {
  const { hub, agent } = await stage(t);
  hub.behaviour.acknowledges = false;
  const peer = await agent.online();
  peer.task("t1", "s1", "hello");
  await hub.ended("t1");
  peer.socket.terminate();
  await until("a second answer", () => hub.completions("t1").length === 2);
});

test("kill -9 in mid-task: run once more, then given up with an honest word", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  const text = "wait 60 s";
  peer.task("t1", "s1", text);
  peer.task("quick", "s2", "hello");
  await hub.ended("quick");
  await agent.restart();
  await reconnected(hub, peer);
  await until("it runs again", async () => (await agent.status()).tasks.running === 1);
  await agent.restart();
  const end = await hub.ended("t1");
  assert.equal(end.state, "failed");
  assert.match(end.text, /restarted twice/);
  assert.ok(hub.completions("quick").every((one) => one.params.status.state === "completed"));
});

test("kill -9 in mid-task: the second run brings the answer", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  peer.task("t1", "s1", "wait 1500 ms");
  await until("work has begun", () => peer.frames.some((frame) => frame.method === "task.status"));
  await agent.restart();
  assert.deepEqual(await hub.ended("t1"), { state: "completed", text: "Waited 1500 ms." });
});

test("what ended more than seven days ago is forgotten, also by an agent without an alarm", async (t) => {
  const { hub, agent } = await stage(t, { KEEP_ALIVE: "false" });
  const peer = await agent.online();
  for (const id of ["old", "new"]) {
    peer.task(id, id, "hello");
    await hub.ended(id);
  }
  assert.equal((await agent.status()).tasks.completed, 2);
  await agent.kill();
  agent.sql("UPDATE task SET changed_at = changed_at - 7 * 24 * 3600 * 1000 WHERE id = 'old'");
  await agent.start();
  await agent.wake();
  await reconnected(hub, peer);
  assert.equal((await agent.status()).tasks.completed, 1);
});

test("a key that changes in mid-task: the task ends with the new key", async (t) => {
  const models = await startModels();
  t.after(() => models.close());
  const { hub, agent } = await stage(t, { ...models.vars("anthropic-messages"), ANTHROPIC_API_KEY: "old-key-0001" });
  const peer = await agent.online();
  models.script.push({ text: ["slow ", "answer"], pauseMs: 60_000 }, { text: ["With the new key."] });
  peer.task("t1", "s1", "Hello");
  await until("the model was asked", () => models.requests.length === 1);
  await agent.restart({ ANTHROPIC_API_KEY: "new-key-0002", TALON_SECRETS_REV: "rev2" });
  assert.deepEqual(await hub.ended("t1"), { state: "completed", text: "With the new key." });
  assert.deepEqual(
    models.requests.map((request) => request.headers["x-api-key"]),
    ["old-key-0001", "new-key-0002"],
  );
  assert.equal((await agent.status()).secrets_rev, "rev2");
});

test("one task at a time in a session, sessions beside each other", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  peer.task("a1", "a", "wait 800 ms");
  peer.task("a2", "a", "hello");
  peer.task("b1", "b", "hello");
  await hub.ended("a2");
  const order = hub.frames().filter((frame) => frame.method === "task.complete");
  assert.deepEqual(
    order.map((frame) => frame.params.task_id),
    ["b1", "a1", "a2"],
  );
});

test("a canceled task ends as canceled, at work or waiting", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  peer.task("t1", "s1", "wait 60 s");
  peer.task("t2", "s1", "hello");
  peer.task("t3", "s1", "hello");
  await until("work has begun", () => peer.frames.some((frame) => frame.method === "task.status"));
  peer.send({ method: "task.cancel", params: { id: "t2" } });
  peer.send({ method: "task.cancel", params: { task_id: "t1" } });
  assert.equal((await hub.ended("t1")).state, "canceled");
  assert.equal((await hub.ended("t2")).state, "canceled");
  assert.deepEqual(await hub.ended("t3"), { state: "completed", text: "Echo: hello" });
  assert.equal(hub.completions("t1").length, 1);
});

test("a task without text, and one while the bucket is broken, fail with a reason", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  peer.task("t1", "s1", "  ");
  assert.deepEqual(await hub.ended("t1"), { state: "failed", text: "The task has no text." });
  await until("the bucket is quiet", () => agent.r2.objects.get("meta/runtime.json"));
  agent.r2.faults.failNext = 100;
  peer.task("t2", "s1", "hello");
  const end = await hub.ended("t2");
  assert.equal(end.state, "failed");
  assert.match(end.text, /could not work on this task/);
  agent.r2.faults.failNext = 0;
  peer.task("t3", "s1", "hello");
  assert.equal((await hub.ended("t3")).state, "completed");
});

test("a session that fills the model's window is summed up, and goes on", async (t) => {
  const models = await startModels();
  t.after(() => models.close());
  const { hub, agent } = await stage(t, models.vars("anthropic-messages"));
  const timestamp = new Date().toISOString();
  const lines = [{ type: "session", version: 4, id: "s1", timestamp, cwd: "/workspace" }];
  for (let i = 0; i < 30; i++) {
    const content = [{ type: "text", text: `${i} ${"words ".repeat(5_000)}` }];
    const message = { role: "user", content, timestamp: Date.now() };
    lines.push({ type: "message", id: `e${i}`, parentId: i > 0 ? `e${i - 1}` : null, timestamp, message });
  }
  const body = Buffer.from(lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const key = "agents/main/sessions/s1.jsonl";
  agent.r2.objects.set(key, { body, fields: {}, uploaded: "1" });
  models.script.push({ text: ["They counted."] }, { text: ["On we go."] });
  (await agent.online()).task("t1", "s1", "Go on");
  assert.deepEqual(await hub.ended("t1"), { state: "completed", text: "On we go." });
  assert.equal(models.requests.length, 2);
  const asked = JSON.stringify(models.requests[1]?.body);
  assert.match(asked, /They counted\./);
  assert.ok(asked.length < body.length / 2, "the older part was not sent again");
  const text = agent.r2.text(key) ?? "";
  assert.ok(text.startsWith(body.toString()), "nothing that was there is lost");
  assert.match(text.slice(body.length), /^\{"type":"compaction".*They counted/);
});

test("sessions lie in the bucket as OpenClaw writes them", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  peer.task("t1", "a/../b c", "hello");
  await hub.ended("t1");
  const text = agent.r2.text("agents/main/sessions/a%2F%2E%2E%2Fb%20c.jsonl") ?? "";
  const lines = text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  assert.deepEqual([lines[0].type, lines[0].version, lines[0].id], ["session", 4, "a/../b c"]);
  assert.deepEqual(
    lines.slice(1).map((line) => [line.type, line.message.role]),
    [
      ["message", "user"],
      ["message", "assistant"],
    ],
  );
  assert.equal(lines[2].parentId, lines[1].id);
});
