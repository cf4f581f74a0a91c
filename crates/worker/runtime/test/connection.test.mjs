// The life of the connection. One heartbeat is 600 ms here instead of 30 s; every other time shrinks with it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./support/wait.mjs";
import { AUTH_TOKEN, stage } from "./support/worker.mjs";

const count = (peer, method) => peer.frames.filter((frame) => frame.method === method).length;

test("registers with the token in the frame, then keeps the heartbeat", async (t) => {
  const { hub, agent } = await stage(t);
  const said = await agent.wake();
  assert.equal(said.state, "registered");
  const peer = await hub.online();
  assert.equal(peer.url, "/ws/agents", "no token in the address");
  const [first] = peer.frames;
  assert.equal(first.method, "agent.register");
  assert.equal(first.params.agent_name, "ada");
  assert.equal(first.params.auth_token, AUTH_TOKEN);
  assert.equal(first.params.framework, "openclaw");
  await until("three heartbeats", () => count(peer, "heartbeat") >= 3);
  await agent.wake();
  assert.equal(hub.peers.length, 1, "a wake of a connected agent changes nothing");
});

test("the first registration writes copies of the identity into the bucket, once", async (t) => {
  const { agent } = await stage(t);
  await agent.online();
  const marker = await until("the marker is written", () => agent.r2.objects.get("meta/runtime.json"));
  assert.equal(agent.r2.text("workspace/IDENTITY.md"), agent.identity);
  assert.equal(agent.r2.text("workspace/SOUL.md"), "You are Ada.\n");
  assert.equal(agent.r2.text("workspace/AGENTS.md"), "Count twice.\n");
  assert.match(agent.r2.text("workspace/skills/sums/SKILL.md") ?? "", /^---\nname: sums\n.*Adds numbers up\./s);
  await agent.restart();
  await until("it came back by itself", () => agent.hub.peers.filter((peer) => peer.registered).length === 1);
  assert.equal(agent.r2.objects.get("meta/runtime.json"), marker);
});

test("a permanent refusal holds until the next wake", async (t) => {
  const { hub, agent } = await stage(t);
  hub.behaviour.register = () => ({ registered: false, error: "agent ada is owned by another user" });
  assert.deepEqual(await agent.wake(), {
    state: "refused",
    reason: "agent ada is owned by another user",
    attempts: 0,
    last_error: "agent ada is owned by another user",
  });
  await until("the socket is closed", () => hub.peers[0]?.closed);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  assert.equal(hub.peers.length, 1, "it did not try again in more than the longest wait");
  hub.behaviour.register = () => ({ registered: true });
  assert.equal((await agent.wake()).state, "registered");
});

test("another refusal is tried again: closed with 1012, then a new socket", async (t) => {
  const { hub, agent } = await stage(t);
  let tries = 0;
  hub.behaviour.register = () =>
    ++tries < 3 ? { registered: false, error: "already connected" } : { registered: true };
  assert.equal((await agent.wake()).state, "parting");
  await hub.online();
  assert.deepEqual(
    hub.peers.map((peer) => peer.closeCode),
    [1012, 1012, 0],
  );
});

test("a Hub that does not answer the registration is left", async (t) => {
  const { hub, agent } = await stage(t);
  hub.behaviour.silent = true;
  await agent.wake();
  await until("a second attempt", () => hub.peers.length >= 2);
  hub.behaviour.silent = false;
  await hub.online();
});

test("90 s of silence: a Hub that stops answering heartbeats is left for a new connection", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  await until("a heartbeat was answered", () => count(peer, "heartbeat") >= 1);
  hub.behaviour.silent = true;
  await until("the connection is given up", () => peer.closed);
  hub.behaviour.silent = false;
  assert.notEqual(await hub.online(), peer);
});

test("a Hub that never answers heartbeats is not left", async (t) => {
  const { hub, agent } = await stage(t, { HEARTBEAT_MS: "100" });
  hub.behaviour.heartbeats = false;
  const peer = await agent.online();
  await until("many heartbeats", () => count(peer, "heartbeat") >= 8);
  assert.equal(hub.peers.length, 1);
});

test("a cut connection comes back, and what the Hub says wrong hurts nothing", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  peer.send("{not json");
  peer.send("[1,2,3]");
  peer.send("null");
  peer.send({ id: "x", result: 5 });
  peer.send({ method: "task.teleport", params: 7 });
  peer.send({ method: "delegation.result", params: { original_id: "never asked" } });
  peer.send({ id: 42, method: "task.teleport", params: {} });
  const refusal = await until("an answer to the unknown method", () => peer.frames.find((frame) => frame.id === 42));
  assert.equal(refusal.error.code, -32601);
  peer.send({ id: 43, method: "task.execute", params: { message: {} } });
  const invalid = await until("an answer to the task without an id", () =>
    peer.frames.find((frame) => frame.id === 43),
  );
  assert.equal(invalid.error.code, -32602);
  peer.socket.terminate();
  const again = await until("a new connection", () => hub.peers.find((one) => one !== peer && one.registered));
  again.task("t1", "s1", "still there");
  assert.deepEqual(await hub.ended("t1"), { state: "completed", text: "Echo: still there" });
});

test("a frame of more than 1 MiB ends the connection, not the agent", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  peer.task("big", "s1", "x".repeat(1024 * 1024));
  await until("the connection is closed", () => peer.closed);
  assert.equal(peer.closeCode, 1009);
  await hub.online();
});

test("an agent that is not kept alive sleeps when idle and comes back when woken", async (t) => {
  const { hub, agent } = await stage(t, { KEEP_ALIVE: "false", HEARTBEAT_MS: "60" });
  const peer = await agent.online();
  peer.task("t1", "s1", "wait 1500 ms");
  await hub.ended("t1");
  assert.equal(peer.closed, false, "it does not fall asleep at work");
  await until("it closed its connection", () => peer.closed);
  assert.equal(peer.closeCode, 1000);
  assert.equal((await agent.status()).connection.state, "asleep");
  const again = await agent.online();
  again.task("t2", "s1", "What did I tell you before?");
  assert.match((await hub.ended("t2")).text, /wait 1500 ms/);
});

test("a kept-alive agent comes back by itself after its process was killed", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  await agent.restart();
  await until("the old connection is gone", () => peer.closed);
  await hub.online();
});
