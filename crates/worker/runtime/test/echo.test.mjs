// The stand-in model: what a demonstration relies on, through the whole agent loop.
import assert from "node:assert/strict";
import { test } from "node:test";
import { stage } from "./support/worker.mjs";

test("a note is written, and remembered in the same session only", async (t) => {
  const { hub, agent } = await stage(t);
  const peer = await agent.online();
  peer.task("t1", "s1", "Please save a note: the launch is on Tuesday");
  assert.deepEqual(await hub.ended("t1"), {
    state: "completed",
    text: "Done. Wrote notes/the-launch-is-on-tuesday.md (25 characters).",
  });
  assert.equal(agent.r2.text("workspace/artifacts/notes/the-launch-is-on-tuesday.md"), "the launch is on Tuesday\n");
  assert.equal(hub.pieces("t1").join(""), "Done. Wrote notes/the-launch-is-on-tuesday.md (25 characters).");

  peer.task("t2", "s1", "What did I tell you before?");
  const { text } = await hub.ended("t2");
  assert.match(text, /Please save a note: the launch is on Tuesday/);
  assert.match(text, /I wrote: notes\/the-launch-is-on-tuesday\.md/);

  peer.task("t3", "s2", "What did I tell you before?");
  assert.match((await hub.ended("t3")).text, /Nothing yet/);
});
