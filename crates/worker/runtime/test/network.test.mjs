// Other agents, as tools.
import assert from "node:assert/strict";
import { test } from "node:test";
import { until } from "./support/wait.mjs";
import { stage } from "./support/worker.mjs";

test("agents are searched over the Hub", async (t) => {
  const { hub, agent } = await stage(t);
  hub.behaviour.methods["agent.search"] = (params) => ({
    result: {
      items: [{ name: "bob", description: `for: ${params.query}`, score: 0.91, best_skill_id: "sums", skills: [] }, 7],
    },
  });
  (await agent.online()).task("t1", "s1", "find an agent that adds");
  const { text } = await hub.ended("t1");
  assert.match(text, /bob \(0\.91\): for: find an agent that adds \[skill: sums\]/);
});

test("a task is given to another agent, and its answer comes back", async (t) => {
  const { hub, agent } = await stage(t);
  hub.behaviour.methods["agent.send_task"] = (params, id, peer) => {
    const status = { state: "completed", message: { role: "agent", parts: [{ type: "text", text: "It is 4." }] } };
    const result = { original_id: id, task_id: params.task_id, status };
    setTimeout(() => peer.send({ method: "delegation.result", params: result }), 50);
    return { result: { accepted: true } };
  };
  (await agent.online()).task("t1", "s1", "ask bob: what is 2 + 2?");
  assert.deepEqual(await hub.ended("t1"), { state: "completed", text: "It is 4." });
  const sent = hub.frames().find((frame) => frame.method === "agent.send_task");
  assert.deepEqual([sent.params.agent_id, sent.params.message], ["bob", "what is 2 + 2?"]);
});

test("refusal, failure and a lost connection are told to the model", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  const ask = async (id) => {
    peer.task(id, id, "ask bob: hello");
    return (await hub.ended(id)).text;
  };
  hub.behaviour.methods["agent.send_task"] = () => ({ error: { code: -32000, message: "no such agent" } });
  assert.match(await ask("t1"), /The tool delegate_task failed: no such agent/);
  hub.behaviour.methods["agent.send_task"] = (_, id, at) => {
    at.send({ method: "delegation.result", params: { original_id: id, status: { state: "failed" }, error: "asleep" } });
    return { result: {} };
  };
  assert.match(await ask("t2"), /the other agent failed: asleep/);
  peer.task("t3", "s3", "ask ada: hello");
  assert.match((await hub.ended("t3")).text, /cannot give a task to itself/);
  hub.behaviour.methods["agent.send_task"] = () => ({ result: {} });
  peer.task("t4", "s4", "ask bob: hello");
  await until("it was asked", () => hub.frames().filter((f) => f.method === "agent.send_task").length === 3);
  peer.socket.terminate();
  assert.match((await hub.ended("t4")).text, /the connection to the network was lost/);
});
