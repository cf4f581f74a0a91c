// Reading from the public web, within limits and never from an address of a private network.
//
// What is checked is the address as it is written, at the start and at every redirect: scheme, credentials, port, host.
// What a public name *resolves to* is not checked, and cannot be from in here: a Worker's `fetch` resolves by itself, so
// that a look-up made before it (over HTTPS, say) would tell somebody every name and could be answered differently the
// second time. What holds there is where the Worker runs: on Cloudflare `fetch` starts from Cloudflare's network, which
// has no route into anybody's private one. In a local workerd it starts from that machine, so that a name made for it
// can reach what listens there.

import type { Tool } from "../engine.ts";
import { schema, text } from "./input.ts";

const LONGEST_MS = 20_000;
const MOST_BYTES = 256 * 1024;
const MOST_HOPS = 5;
/** The scheme's own, which `URL` writes as none, and what else web servers use. */
const PORTS = ["", "80", "443", "8080", "8443"];
/** Names that no public server answers to. */
const LOCAL_NAMES = /\.(localhost|localdomain|local|internal|intranet|private|lan|home|corp|test|invalid|arpa)$/;

/** `http_fetch`. */
export function httpTools(): Tool[] {
  return [
    {
      name: "http_fetch",
      label: "Fetch",
      description: "Reads a page or document from the public web (GET, text only, at most 256 KiB).",
      parameters: schema({ url: { type: "string", description: "https:// or http:// address" } }, ["url"]),
      async run(args, signal) {
        const limited = AbortSignal.any([signal, AbortSignal.timeout(LONGEST_MS)]);
        return get(publicUrl(text(args, "url", 4_000)), limited);
      },
    },
  ];
}

async function get(start: URL, signal: AbortSignal): Promise<string> {
  let url = start;
  for (let hop = 0; hop <= MOST_HOPS; hop++) {
    const response = await fetch(url, { redirect: "manual", signal, headers: { accept: "text/*, application/json" } });
    const next = response.headers.get("location");
    if (response.status >= 300 && response.status < 400 && next) {
      await response.body?.cancel();
      url = publicUrl(new URL(next, url).href);
      continue;
    }
    const type = response.headers.get("content-type") ?? "text/plain";
    if (!/^(text\/|application\/([\w.-]+\+)?(json|xml|javascript|yaml))/i.test(type)) {
      await response.body?.cancel();
      throw new Error(`the content is ${type.slice(0, 100)}, not text`);
    }
    return `HTTP ${response.status}, ${type.slice(0, 100)}\n\n${await head(response)}`;
  }
  throw new Error(`more than ${MOST_HOPS} redirects`);
}

async function head(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let out = "";
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    const room = MOST_BYTES - bytes;
    out += decoder.decode(chunk.subarray(0, room), { stream: true });
    bytes += chunk.length;
    if (bytes > MOST_BYTES) return `${out}\n[cut at ${MOST_BYTES} bytes]`;
  }
  return out + decoder.decode();
}

/** The address, if it may be fetched. Throws for other schemes and ports, credentials, and hosts of private networks. */
export function publicUrl(address: string): URL {
  if (!URL.canParse(address)) throw new Error("this is not an address");
  const url = new URL(address);
  if (url.protocol !== "https:" && url.protocol !== "http:")
    throw new Error("only https:// and http:// can be fetched");
  if (url.username || url.password) throw new Error("an address with credentials is not fetched");
  if (!PORTS.includes(url.port)) throw new Error("only the ports of web servers are fetched from: 80, 443, 8080, 8443");
  if (isPrivate(url.hostname)) throw new Error("addresses of private networks are not fetched");
  return url;
}

/**
 * Names without a dot, names of local networks, and every address that is not public. `URL` has normalised the host:
 * decimal, octal, hexadecimal and short IPv4 addresses, full-width digits, upper case and a dot at the end of an address
 * are gone.
 */
function isPrivate(host: string): boolean {
  if (host.startsWith("[")) return isPrivateV6(host.slice(1, -1));
  const v4 = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(host);
  if (v4) return isPrivateV4(Number(v4[1]), Number(v4[2]), Number(v4[3]));
  const bare = host.replace(/\.+$/, "");
  return !bare.includes(".") || LOCAL_NAMES.test(bare);
}

function isPrivateV4(a: number, b: number, c: number): boolean {
  if (a === 0 || a === 10 || a === 127 || a >= 224) return true;
  if (a === 100) return b >= 64 && b < 128;
  if (a === 169) return b === 254;
  if (a === 172) return b >= 16 && b < 32;
  if (a === 192) return b === 168 || (b === 0 && (c === 0 || c === 2)) || (b === 88 && c === 99);
  if (a === 198) return b === 18 || b === 19 || (b === 51 && c === 100);
  return a === 203 && b === 0 && c === 113;
}

/**
 * Only global unicast (2000::/3) is public, and of that not 2001::/23 (Teredo and others that carry something else),
 * 2002::/16 (6to4, which carries an IPv4 address), and the examples of 2001:db8::/32 and 3fff::/20.
 */
function isPrivateV6(host: string): boolean {
  const [first = 0, second = 0] = host.split(":", 2).map((group) => Number.parseInt(group || "0", 16));
  if (first < 0x2000 || first > 0x3fff || first === 0x2002) return true;
  if (first === 0x2001) return second < 0x200 || second === 0xdb8;
  return first === 0x3fff && second < 0x1000;
}
