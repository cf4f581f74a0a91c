// The built bundle in real workerd, with the bindings of an upload.
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import path from "node:path";
import { startHub } from "./hub.mjs";
import { startR2 } from "./r2.mjs";

const bundle = process.env.TALON_WORKER_BUNDLE_DIR;
if (!bundle) throw new Error("TALON_WORKER_BUNDLE_DIR must name a built bundle");
/** What the build says of the bundle under test. */
export const manifest = JSON.parse(readFileSync(path.join(bundle, "manifest.json"), "utf8"));
const workerd = createRequire(import.meta.url).resolve("@cloudflare/workerd-linux-64/bin/workerd");

export const CONTROL_TOKEN = "control-0123456789abcdef0123456789abcdef";
export const AUTH_TOKEN = "sai_ws_0123456789abcdef0123456789abcdef";
export const IDENTITY = `# IDENTITY.md - Who Am I?

- **Name:** Ada
- **Theme:** Careful with numbers

## Persona

You are Ada.

## Instructions

Count twice.

## Skills

### sums: Sums

Adds numbers up.

Tags: maths

Examples:

- What is 2 + 2?
`;

const quoted = (text) => JSON.stringify(text);

/** One agent: its Worker, which can be stopped, killed and started again, and its bucket. */
export class Agent {
  constructor(hub, r2, vars) {
    this.hub = hub;
    this.r2 = r2;
    this.vars = vars;
    this.dir = mkdtempSync(path.join(tmpdir(), "talon-worker-"));
    mkdirSync(path.join(this.dir, "state"));
    this.output = "";
    this.port = 0;
    this.identity = IDENTITY;
  }

  async start() {
    const file = (name, text) => writeFileSync(path.join(this.dir, name), text);
    file("worker.js", readFileSync(path.join(String(bundle), "worker.js")));
    file("IDENTITY.md", this.identity);
    file("config.capnp", this.config());
    const child = spawn(workerd, ["serve", "--control-fd=3", path.join(this.dir, "config.capnp")], {
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    this.child = child;
    this.exited = new Promise((resolve) => child.once("exit", resolve));
    for (const out of [child.stdout, child.stderr]) {
      out?.on("data", (data) => {
        this.output += data;
      });
    }
    this.port = await new Promise((resolve, reject) => {
      let text = "";
      child.stdio[3]?.on("data", (data) => {
        text += data;
        const port = /"event":"listen".*"port":(\d+)/.exec(text)?.[1];
        if (port) resolve(Number(port));
      });
      child.once("exit", (code) => reject(new Error(`workerd ended with ${code}:\n${this.output}`)));
    });
  }

  /** Ends the process as a crash would. */
  async kill() {
    this.child?.kill("SIGKILL");
    await this.exited;
  }

  /** Writes to the object's database while no process has it open. */
  sql(statement) {
    const state = path.join(this.dir, "state");
    const files = readdirSync(state, { recursive: true }).map(String);
    const [file] = files.filter((name) => name.endsWith(".sqlite") && !name.endsWith("metadata.sqlite"));
    execFileSync("sqlite3", [path.join(state, String(file)), statement]);
  }

  async restart(vars = {}) {
    await this.kill();
    Object.assign(this.vars, vars);
    await this.start();
  }

  async request(method, pathname, token = CONTROL_TOKEN) {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    return fetch(`http://127.0.0.1:${this.port}${pathname}`, { method, headers });
  }

  async wake() {
    const response = await this.request("POST", "/wake");
    if (response.status !== 200) throw new Error(`wake: ${response.status} ${await response.text()}\n${this.output}`);
    return response.json();
  }

  async status() {
    return (await this.request("GET", "/status")).json();
  }

  /** Connected, and the connection's other end. */
  async online() {
    await this.wake();
    return this.hub.online();
  }

  async close() {
    await this.kill();
    this.r2.close();
    rmSync(this.dir, { recursive: true, force: true });
  }

  config() {
    const texts = Object.entries(this.vars).map(([name, text]) => `(name = "${name}", text = ${quoted(text)})`);
    return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "net", network = (allow = ["public", "private", "local"])),
    (name = "agent", worker = .agent),
    (name = "state", disk = (path = ${quoted(path.join(this.dir, "state"))}, writable = true)),
    (name = "r2", external = (address = "127.0.0.1:${this.r2.port}", http = ())),
  ],
  sockets = [ (name = "http", address = "127.0.0.1:0", http = (), service = "agent") ],
);
const agent :Workerd.Worker = (
  modules = [
    (name = "${manifest.main_module}", esModule = embed "worker.js"),
    (name = "IDENTITY.md", text = embed "IDENTITY.md"),
  ],
  compatibilityDate = "${manifest.compatibility_date}",
  compatibilityFlags = ${JSON.stringify(manifest.compatibility_flags)},
  bindings = [
    ${texts.join(",\n    ")},
    (name = "AGENT_BUCKET", r2Bucket = "r2"),
    (name = "AGENT", durableObjectNamespace = "${manifest.durable_object_class}"),
  ],
  durableObjectNamespaces = [
    (className = "${manifest.durable_object_class}", uniqueKey = "agent", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "state"),
  globalOutbound = "net",
);
`;
  }
}

/**
 * A Hub and an agent that runs; both end with the test.
 *
 * @param {import("node:test").TestContext} t
 * @param {Record<string, string>} [vars]
 */
export async function stage(t, vars = {}) {
  const hub = await startHub();
  t.after(() => hub.close());
  const agent = new Agent(hub, await startR2(), {
    AGENT_NAME: "ada",
    SOCIETY_AI_HUB_URL: hub.url,
    TALON_TRY: "01TRY",
    TALON_RUNTIME: "ab".repeat(32),
    TALON_SECRETS_REV: "rev1",
    SOCIETY_AI_AUTH_TOKEN: AUTH_TOKEN,
    CONTROL_TOKEN,
    OPENCLAW_MODEL: "dev/echo",
    KEEP_ALIVE: "true",
    HEARTBEAT_MS: "600",
    ...vars,
  });
  t.after(() => agent.close());
  await agent.start();
  return { hub, agent };
}
