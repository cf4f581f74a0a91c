// A bucket in memory that speaks the R2 binding protocol as workerd does.
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { bodyOf } from "./wait.mjs";

/** Starts a server; `objects` is what it holds: key → {body, fields}. */
export async function startR2() {
  /** @type {Map<string, {body: Buffer, fields: object, uploaded: string}>} */
  const objects = new Map();
  const faults = { failNext: 0 };
  const server = createServer(async (request, response) => {
    const body = await bodyOf(request);
    if (!body) return;
    if (faults.failNext > 0) {
      faults.failNext--;
      refuse(response, 500, 10001, "internal error");
      return;
    }
    const size = Number(request.headers["cf-r2-metadata-size"] ?? 0);
    const head = request.method === "PUT" ? body.subarray(0, size).toString() : request.headers["cf-r2-request"];
    serve(objects, JSON.parse(String(head)), body.subarray(size), response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  return {
    objects,
    faults,
    port: /** @type {import("node:net").AddressInfo} */ (server.address()).port,
    /** @param {string} key */
    text: (key) => objects.get(key)?.body.toString("utf8"),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

function serve(objects, asked, value, response) {
  switch (asked.method) {
    case "put": {
      const one = { body: Buffer.from(value), fields: asked.httpFields ?? {}, uploaded: String(Date.now()) };
      objects.set(asked.object, one);
      return answer(response, meta(asked.object, one));
    }
    case "get": {
      const one = objects.get(asked.object);
      if (!one) return refuse(response, 404, 10007, "The specified key does not exist.");
      return answer(response, meta(asked.object, one), one.body);
    }
    case "list": {
      const keys = [...objects.keys()].filter((key) => key.startsWith(asked.prefix ?? "")).sort();
      const shown = keys.slice(0, asked.limit ?? 1000);
      const found = shown.map((key) => meta(key, objects.get(key)));
      return answer(response, { objects: found, truncated: shown.length < keys.length, delimitedPrefixes: [] });
    }
    default:
      return refuse(response, 400, 10001, `not here: ${asked.method}`);
  }
}

function meta(name, one) {
  const md5 = createHash("md5").update(one.body).digest("hex");
  return {
    name,
    version: md5,
    size: String(one.body.length),
    etag: md5,
    uploaded: one.uploaded,
    httpFields: one.fields,
    customFields: [],
    checksums: {},
    storageClass: "Standard",
  };
}

function answer(response, json, value = Buffer.alloc(0)) {
  const head = Buffer.from(JSON.stringify(json));
  response.writeHead(200, { "cf-r2-metadata-size": String(head.length) });
  response.end(Buffer.concat([head, value]));
}

function refuse(response, status, v4code, message) {
  response.writeHead(status, { "cf-r2-error": JSON.stringify({ version: 1, v4code, message }) });
  response.end();
}
