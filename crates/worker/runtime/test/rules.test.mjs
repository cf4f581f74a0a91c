// Rules that can be told without a Worker.
import assert from "node:assert/strict";
import { test } from "node:test";
import { check } from "../build/checks.mjs";
import { source } from "./support/source.mjs";

test("http_fetch keeps out of private networks, however they are spelled", async () => {
  const { publicUrl } = await source("tools/http.ts");
  const refused = [
    "http://127.0.0.1/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0177.0.0.1/",
    "http://10.1.2.3/",
    "http://172.31.0.1/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data",
    "http://100.64.0.1/",
    "http://0.0.0.0/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[fd00::1]/",
    "http://[fe80::1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:0:127.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001::1]/",
    "http://[2001:0:7f00:1::]/",
    "http://[2001:1ff::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff:fff::1]/",
    "http://[ff02::1]/",
    "http://127.1/",
    "http://0x7f000001/",
    "http://017700000001/",
    "http://127.0.0.1./",
    "http://１２７.0.0.1/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://localhost../",
    "http://%6cocalhost/",
    "http://router.home.arpa/",
    "http://localhost/",
    "http://agent.localhost/",
    "http://agent.localhost./",
    "http://intranet/",
    "http://db.internal/",
    "http://printer.local/",
    "file:///etc/passwd",
    "data:text/plain,x",
    "https://user:pass@example.com/",
    "https://example.com@127.0.0.1/",
    "http://example.com:22/",
    "http://example.com:11434/",
    "https://example.com:0/",
    "nonsense",
  ];
  for (const address of refused) assert.throws(() => publicUrl(address), undefined, address);
  for (const address of [
    "https://example.com/a?b",
    "http://8.8.8.8/",
    "http://172.32.0.1/",
    "http://[2606:4700::1111]/",
    "http://[2001:200::1]/",
    "http://[3fff:1000::1]/",
    "http://example.com:8080/",
    "https://example.com:80/",
    "http://127.0.0.1.example.com/",
    "http://example.com./",
  ]) {
    assert.equal(publicUrl(address).href, new URL(address).href);
  }
});

test("http_fetch looks at every redirect as at the first address", async (t) => {
  const { httpTools } = await source("tools/http.ts");
  const [{ run }] = httpTools();
  const fetched = [];
  const real = globalThis.fetch;
  t.after(() => {
    globalThis.fetch = real;
  });
  const ask = (start, ...targets) => {
    fetched.length = 0;
    globalThis.fetch = async (url, options) => {
      fetched.push(String(url));
      assert.equal(options.redirect, "manual");
      const target = targets[fetched.length - 1];
      return target === undefined
        ? new Response("here", { headers: { "content-type": "text/plain" } })
        : new Response(null, { status: 302, headers: { location: target } });
    };
    return run({ url: start }, new AbortController().signal);
  };
  assert.match(await ask("https://example.com/a", "/b", "http://example.org/c"), /^HTTP 200, text\/plain\n\nhere$/);
  assert.deepEqual(fetched, ["https://example.com/a", "https://example.com/b", "http://example.org/c"]);
  for (const target of ["http://127.0.0.1/", "//2130706433/", "http://[::1]/", "http://example.com:22/", "file:///x"]) {
    await assert.rejects(ask("https://example.com/a", "/b", target), /fetched/, target);
    assert.deepEqual(fetched, ["https://example.com/a", "https://example.com/b"], target);
  }
  await assert.rejects(ask("https://example.com/", ...Array(9).fill("/again")), /more than 5 redirects/);
  assert.equal(fetched.length, 6);
});

test("an artifact's path stays in its folder", async () => {
  const { artifactKey } = await source("tools/artifacts.ts");
  for (const path of [
    "/etc/passwd",
    "../x",
    "a/../b",
    "a/./b",
    ".",
    "..",
    "a//b",
    "a/",
    "",
    "a\\b",
    "a\0b",
    "é".repeat(300),
  ]) {
    assert.throws(() => artifactKey(path), undefined, JSON.stringify(path));
  }
  for (const path of ["a", "a/b.txt", ".hidden", "...", "ü/ñ.md", "x".repeat(512)]) {
    assert.equal(artifactKey(path), `workspace/artifacts/${path}`);
  }
});

test("secrets are taken out of texts, also where they come in pieces", async () => {
  const { Redactor } = await source("redact.ts");
  const redactor = new Redactor(["sk-secret-0001", "short", "other/secret+2"]);
  assert.equal(redactor.text("a sk-secret-0001 b short"), "a [redacted] b short");
  assert.equal(
    redactor.text(`x ${encodeURIComponent("other/secret+2")} ${btoa("other/secret+2")}`),
    "x [redacted] [redacted]",
  );
  const whole = "start sk-sec sk-secret-0001sk-secret-0001 and sk-secret-000 end";
  for (let size = 1; size < 20; size++) {
    const stream = redactor.stream();
    let out = "";
    for (let at = 0; at < whole.length; at += size) {
      const piece = stream.push(whole.slice(at, at + size));
      out += piece;
      assert.doesNotMatch(out, /sk-secret-0001/);
    }
    assert.equal(out + stream.end(), "start sk-sec [redacted][redacted] and sk-secret-000 end", `pieces of ${size}`);
  }
});

test("a bundle that is not what it should be fails the build", () => {
  const imports = ["node:crypto", "cloudflare:workers", "./IDENTITY.md"];
  const stubs = new Set(["a", "b", "c"]);
  const good = new TextEncoder().encode("export default {};");
  check(good, imports, stubs);
  assert.throws(() => check(new Uint8Array(1_500_000), imports, stubs), /1500000 bytes/);
  assert.throws(() => check(good, imports, new Set(["a"])), /1 chunks of openclaw were stubbed, not 3: a/);
  assert.throws(() => check(good, [...imports, "node:net"], stubs), /imports node:net/);
  assert.throws(() => check(good, ["node:crypto"], stubs), /does not import \.\/IDENTITY\.md/);
  assert.throws(() => check(new TextEncoder().encode("import.meta.url"), imports, stubs), /import\.meta/);
});

test("waiting grows from 1 s to 60 s, with jitter", async () => {
  const { paceOf, retryDelay } = await source("hub/pace.ts");
  const usual = paceOf(undefined);
  assert.deepEqual(usual, {
    heartbeat: 30_000,
    registration: 15_000,
    silence: 90_000,
    parting: 5_000,
    retry: [1_000, 60_000],
    idle: 600_000,
  });
  const most = [0, 1, 2, 3, 4, 5, 6, 7, 100].map((attempt) => retryDelay(usual, attempt, 1));
  assert.deepEqual(most, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  assert.equal(retryDelay(usual, 0, 0), 500);
  for (const odd of ["", "x", "-5", "1", "1e999", "70.5"]) assert.equal(paceOf(odd).heartbeat, 30_000, odd);
});

test("IDENTITY.md is taken apart as the controller compiles it", async () => {
  const { parseIdentity } = await source("identity.ts");
  const text =
    "# IDENTITY.md - Who Am I?\n\n- **Name:** Ada\n- **Theme:** Numbers\n\n## Persona\n\nKind.\n\n    ## Skills\n\n" +
    "- **Name:** Eve\n\n## Instructions\n\nCount.\n\n## Skills\n\n### a: Adds: all\n\nAdds.\n\nTags: x\n\n### b: B\n\nBees.\n";
  const identity = parseIdentity(text);
  assert.equal(identity.name, "Ada");
  assert.equal(identity.persona, "Kind.\n\n    ## Skills\n\n- **Name:** Eve");
  assert.equal(identity.instructions, "Count.");
  assert.deepEqual(identity.skills, [
    { id: "a", name: "Adds: all", text: "Adds.\n\nTags: x" },
    { id: "b", name: "B", text: "Bees." },
  ]);
  assert.ok(!identity.core.includes("### a"));
  assert.deepEqual(parseIdentity("").skills, []);
});

test("dev/echo does what it is asked to", async () => {
  const { echo } = await source("model/echo.ts");
  const ask = (text, ...before) => echo([...before, { role: "user", text }]);
  const calls = {
    "Please save a note: buy milk": ["artifact_write", { path: "notes/buy-milk.md", content: "buy milk\n" }],
    'Write "hello" to greetings/hello.txt': ["artifact_write", { path: "greetings/hello.txt", content: "hello\n" }],
    "Write down that the sky is blue": [
      "artifact_write",
      { path: "notes/the-sky-is-blue.md", content: "the sky is blue\n" },
    ],
    "read notes/buy-milk.md": ["artifact_read", { path: "notes/buy-milk.md" }],
    "List your notes": ["artifact_list", {}],
    "ask bob-2: how are you?": ["delegate_task", { agent_id: "bob-2", message: "how are you?" }],
    "Find an agent that sums": ["search_agents", { query: "Find an agent that sums" }],
    "fetch https://example.com/x please": ["http_fetch", { url: "https://example.com/x" }],
  };
  for (const [text, [tool, args]] of Object.entries(calls))
    assert.deepEqual(ask(text), { kind: "call", tool, args }, text);
  assert.equal(ask("Good morning").text, "Echo: Good morning");
  assert.equal(ask("Remember that I like tea").text, "I will remember that: I like tea");
  const before = { role: "user", text: "I like tea" };
  for (const text of ["What did I tell you?", "Do you remember what I like?", "Tell me what I said before"]) {
    assert.match(ask(text, before).text, /1\. I like tea/, text);
  }
});
