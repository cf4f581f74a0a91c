// Real providers' protocols through the real engine, against stand-in servers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { APIS, startModels } from "./support/models.mjs";
import { until } from "./support/wait.mjs";
import { stage } from "./support/worker.mjs";

for (const api of /** @type {(keyof typeof APIS)[]} */ (Object.keys(APIS))) {
  test(api, async (t) => {
    const models = await startModels();
    t.after(() => models.close());
    const { hub, agent } = await stage(t, models.vars(api));
    const peer = await agent.online();
    /** @param {string} id @param {import("./support/models.mjs").Step[]} steps */
    const ask = async (id, ...steps) => {
      models.script.splice(0, models.script.length, ...steps);
      models.requests.splice(0);
      peer.task(id, id, "Hello there");
      return hub.ended(id);
    };

    await t.test("text comes as a stream and whole", async () => {
      const end = await ask("text", { text: ["Good ", "morning", "."], pauseMs: 150 });
      assert.deepEqual(end, { state: "completed", text: "Good morning." });
      assert.equal(hub.pieces("text").join(""), "Good morning.");
      assert.ok(hub.pieces("text").length >= 2, "not in one piece");
      const [asked] = models.requests;
      const sent = JSON.stringify(asked?.body);
      assert.match(sent, /Hello there/);
      assert.match(sent, /You are Ada\./, "the persona is in the prompt");
      assert.match(sent, /<available_skills>/);
      assert.doesNotMatch(sent, /Adds numbers up\.\\n\\nTags/, "skills are listed, not spelled out");
    });

    await t.test("a tool is used", async () => {
      const tool = { name: "artifact_write", args: { path: "a/b.txt", content: "kept" } };
      const end = await ask("tool", { tool }, { text: ["It is kept."] });
      assert.deepEqual(end, { state: "completed", text: "It is kept." });
      assert.equal(agent.r2.text("workspace/artifacts/a/b.txt"), "kept");
      assert.match(JSON.stringify(models.requests[1]?.body), /Wrote a\/b\.txt/);
    });

    await t.test("a tool's error goes back to the model", async () => {
      const tool = { name: "artifact_write", args: { path: "../../secrets", content: "x" } };
      const end = await ask("bad-tool", { tool }, { text: ["I could not."] });
      assert.equal(end.text, "I could not.");
      assert.match(JSON.stringify(models.requests[1]?.body), /a path is relative/);
    });

    await t.test("401 fails the task at once and says so", async () => {
      const end = await ask("denied", { status: 401, message: "invalid key" });
      assert.equal(end.state, "failed");
      assert.match(end.text, /401|invalid key/);
      assert.equal(models.requests.length, 1);
    });

    await t.test("429 is asked again after the time that the server named", async () => {
      const end = await ask("limited", { status: 429, headers: { "retry-after": "1" } }, { text: ["Now."] });
      assert.deepEqual(end, { state: "completed", text: "Now." });
      const [first, second] = models.requests;
      assert.ok(first && second && second.at - first.at >= 990, "waited as told");
    });

    await t.test("529 is asked again, four times at most", async () => {
      assert.equal((await ask("busy", { status: 529 }, { status: 529 }, { text: ["Back."] })).text, "Back.");
      const end = await ask("overloaded", { status: 529, message: "overloaded" });
      assert.equal(end.state, "failed");
      assert.equal(models.requests.length, 4);
    });

    await t.test("a stream that is cut fails the task", async () => {
      const end = await ask("cut", { text: ["Half ", "never"], cut: true });
      assert.equal(end.state, "failed");
      assert.match(end.text, /The model did not answer/);
      assert.deepEqual(await ask("after", { text: ["Fine."] }), { state: "completed", text: "Fine." });
    });

    await t.test("a stream slower than a heartbeat arrives, and the heartbeat goes on", async () => {
      const beats = () => peer.frames.filter((frame) => frame.method === "heartbeat").length;
      const before = beats();
      const end = await ask("slow", { text: ["Slow", " and", " steady"], pauseMs: 700 });
      assert.deepEqual(end, { state: "completed", text: "Slow and steady" });
      assert.ok(beats() - before >= 2, "heartbeats were sent meanwhile");
    });
  });
}

test("an agent whose model cannot be used says why", async (t) => {
  const { hub, agent } = await stage(t, { OPENCLAW_MODEL: "anthropic/claude-test" });
  (await agent.online()).task("t1", "s", "Hello");
  assert.match((await hub.ended("t1")).text, /no API key for anthropic/);
  await agent.restart({ OPENCLAW_MODEL: "elsewhere/model" });
  await until("the old connection is gone", () => hub.peers[0]?.closed);
  (await agent.online()).task("t2", "s", "Hello");
  assert.match((await hub.ended("t2")).text, /cannot reach models of provider elsewhere/);
});
