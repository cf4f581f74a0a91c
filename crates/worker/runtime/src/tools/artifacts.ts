// Files that the agent keeps in its bucket, under one folder that nothing else uses.

import type { Tool } from "../engine.ts";
import { count, optionalText, schema, text } from "./input.ts";

const FOLDER = "workspace/artifacts/";
const LONGEST_PATH = 512;
const LONGEST_CONTENT = 1_000_000;
const LONGEST_SHOWN = 60_000;

/** `artifact_write`, `artifact_read`, `artifact_list`. */
export function artifactTools(bucket: R2Bucket): Tool[] {
  const path = { type: "string", description: "Relative path, such as reports/2026/summary.md" };
  return [
    {
      name: "artifact_write",
      label: "Write artifact",
      description: "Writes a text file that lasts beyond this task. Replaces a file of the same path.",
      parameters: schema({ path, content: { type: "string", description: "The whole text" } }, ["path", "content"]),
      async run(args) {
        const key = artifactKey(text(args, "path", LONGEST_PATH));
        const content = text(args, "content", LONGEST_CONTENT);
        await bucket.put(key, content, { httpMetadata: { contentType: contentType(key) } });
        return `Wrote ${key.slice(FOLDER.length)} (${content.length} characters).`;
      },
    },
    {
      name: "artifact_read",
      label: "Read artifact",
      description: "Reads a file that was written before.",
      parameters: schema({ path }, ["path"]),
      async run(args) {
        const key = artifactKey(text(args, "path", LONGEST_PATH));
        const object = await bucket.get(key);
        if (!object) throw new Error(`there is no artifact ${key.slice(FOLDER.length)}`);
        if (object.size > 4 * LONGEST_CONTENT)
          throw new Error(`the artifact is too big to read (${object.size} bytes)`);
        const content = await object.text();
        if (content.length <= LONGEST_SHOWN) return content;
        return `${content.slice(0, LONGEST_SHOWN)}\n[cut: the file has ${content.length} characters]`;
      },
    },
    {
      name: "artifact_list",
      label: "List artifacts",
      description: "Lists the files that were written before.",
      parameters: schema(
        {
          prefix: { type: "string", description: "Only paths that begin with this" },
          limit: { type: "integer", description: "At most so many (default 100)" },
        },
        [],
      ),
      async run(args) {
        const prefix = FOLDER + (optionalText(args, "prefix", LONGEST_PATH) ?? "");
        const found = await bucket.list({ prefix, limit: count(args, "limit", 100, 500) });
        const lines = found.objects.map((object) => `${object.key.slice(FOLDER.length)} (${object.size} bytes)`);
        if (lines.length === 0) return "There are no artifacts.";
        return lines.join("\n") + (found.truncated ? "\n[there are more]" : "");
      },
    },
  ];
}

/** The object's key. Throws for a path that is absolute, leaves the folder, or hides something. */
export function artifactKey(path: string): string {
  if (new TextEncoder().encode(path).length > LONGEST_PATH) throw new Error(`a path has at most ${LONGEST_PATH} bytes`);
  const parts = path.split("/");
  const plain = parts.every((part) => part !== "" && part !== "." && part !== "..");
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  if (!plain || /[\u0000-\u001f\u007f\\]/.test(path)) {
    throw new Error('a path is relative, has no "." or ".." and no empty parts, and separates folders by "/"');
  }
  return FOLDER + path;
}

function contentType(key: string): string {
  if (key.endsWith(".md")) return "text/markdown; charset=utf-8";
  if (key.endsWith(".json")) return "application/json";
  // Never text/html: what a model writes must not run in a browser under the bucket's name.
  return "text/plain; charset=utf-8";
}
