// The `openclaw` package as it is published: fetched once, checked against our pin, read in memory, never unpacked.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import path from "node:path";
import { gunzipSync } from "node:zlib";

const BLOCK = 512;

/**
 * The files under `dist/`, by their path in the package. Fails if the bytes are not the pinned ones, whoever put them
 * into the cache.
 *
 * @param {{version: string, integrity: string}} pin
 * @param {string} cache
 * @param {(line: string) => void} say
 * @returns {Map<string, Buffer>}
 */
export function readDist(pin, cache, say) {
  return dist(gunzipSync(tarball(pin, cache, say)));
}

/** @param {{version: string, integrity: string}} pin @param {string} cache @param {(line: string) => void} say */
function tarball(pin, cache, say) {
  const name = `openclaw-${pin.version}.tgz`;
  const kept = path.join(cache, name);
  if (existsSync(kept)) {
    const bytes = readFileSync(kept);
    if (integrity(bytes) === pin.integrity) return bytes;
    say(`${name} in the cache is not the pinned one: fetching it again`);
  }
  say(`fetching openclaw ${pin.version} from the package registry (95 MB, once)`);
  mkdirSync(cache, { recursive: true });
  const fresh = mkdtempSync(path.join(cache, "fetch-"));
  try {
    execFileSync(
      "npm",
      ["pack", `openclaw@${pin.version}`, "--silent", "--ignore-scripts", "--pack-destination", fresh],
      { stdio: ["ignore", "ignore", "inherit"] },
    );
    const bytes = readFileSync(path.join(fresh, name));
    const got = integrity(bytes);
    if (got !== pin.integrity) throw new Error(`${name}: expected ${pin.integrity}, got ${got}`);
    renameSync(path.join(fresh, name), kept);
    return bytes;
  } finally {
    rmSync(fresh, { recursive: true, force: true });
  }
}

/** @param {Buffer} bytes */
function integrity(bytes) {
  return `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
}

/**
 * Reads a tar archive (ustar with pax headers, as npm writes it).
 *
 * @param {Buffer} tar
 */
function dist(tar) {
  /** @type {Map<string, Buffer>} */
  const files = new Map();
  let longName = "";
  for (let at = 0; at + BLOCK <= tar.length && tar[at] !== 0; ) {
    const header = tar.subarray(at, at + BLOCK);
    const field = (/** @type {number} */ from, /** @type {number} */ length) =>
      header.toString("utf8", from, from + length).replace(/\0.*$/s, "");
    const size = Number.parseInt(field(124, 12).trim(), 8);
    const kind = field(156, 1);
    const body = tar.subarray(at + BLOCK, at + BLOCK + size);
    at += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
    if (kind === "x") {
      longName = /\d+ path=([^\n]*)\n/.exec(body.toString("utf8"))?.[1] ?? "";
      continue;
    }
    const prefix = field(345, 155);
    const name = longName || (prefix ? `${prefix}/${field(0, 100)}` : field(0, 100));
    longName = "";
    if ((kind === "0" || kind === "") && name.startsWith("package/dist/")) {
      files.set(name.slice("package/".length), body);
    }
  }
  return files;
}
