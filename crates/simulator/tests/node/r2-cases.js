// A Worker that does everything that the R2 binding offers, in the same order every time, and tells what came of it.
// It runs in miniflare and in the simulator; the answers are compared.

const MIB = 1024 * 1024;

/** Things that differ from run to run are named instead of shown. */
function tell(value) {
  if (value === null || value === undefined) return String(value);
  if (value instanceof Date) return "date";
  if (value instanceof ArrayBuffer) return [...new Uint8Array(value)].map((b) => b.toString(16).padStart(2, "0")).join("");
  if (Array.isArray(value)) return value.map(tell);
  if (typeof value !== "object") return value;
  if (typeof value.writeHttpMetadata === "function") return tellObject(value);
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, tell(value[key])]));
}

function tellObject(object) {
  const headers = new Headers();
  object.writeHttpMetadata(headers);
  return {
    key: object.key.length > 100 ? `${object.key.length} characters` : object.key,
    size: object.size,
    etag: object.etag,
    httpEtag: object.httpEtag,
    version: typeof object.version === "string" && object.version.length > 0,
    uploaded: object.uploaded instanceof Date && Math.abs(object.uploaded.getTime() - Date.now()) < 600_000,
    httpMetadata: { ...tell(object.httpMetadata), cacheExpiry: object.httpMetadata?.cacheExpiry?.getTime() ?? "none" },
    headers: tell(Object.fromEntries(headers)),
    customMetadata: tell(object.customMetadata),
    range: tell(object.range),
    checksums: tell(object.checksums.toJSON()),
    hasBody: "body" in object && object.body !== undefined,
  };
}

async function read(object) {
  return object && object.body ? { ...tellObject(object), text: await object.text() } : tell(object);
}

async function page(bucket, options) {
  const list = await bucket.list(options);
  return {
    keys: list.objects.map((o) => o.key),
    prefixes: list.delimitedPrefixes,
    truncated: list.truncated,
    cursor: list.cursor === undefined ? "none" : "some",
  };
}

async function allPages(bucket, options) {
  const pages = [];
  let cursor;
  do {
    const list = await bucket.list({ ...options, cursor });
    pages.push({ keys: list.objects.map((o) => o.key), prefixes: list.delimitedPrefixes });
    cursor = list.truncated ? list.cursor : undefined;
  } while (cursor !== undefined && pages.length < 20);
  return pages;
}

async function digest(algorithm, text) {
  return crypto.subtle.digest(algorithm, new TextEncoder().encode(text));
}

const TEXT = "0123456789";
const MD5 = "781e5e245d69b566979b86e28d23f2c7"; // of TEXT
const long = (n) => "k".repeat(n);

const CASES = {
  // put, get, head, delete
  "put a text": (b) => b.put("a.txt", TEXT),
  "get it": async (b) => read(await b.get("a.txt")),
  "head it": (b) => b.head("a.txt"),
  "get what is not there": (b) => b.get("nope"),
  "head what is not there": (b) => b.head("nope"),
  "put an empty object": (b) => b.put("empty", ""),
  "get the empty object": async (b) => read(await b.get("empty")),
  "put null": (b) => b.put("null", null),
  "put bytes": (b) => b.put("bytes", new Uint8Array([0, 255, 10, 13])),
  "get bytes": async (b) => tell(await (await b.get("bytes")).arrayBuffer()),
  "put a stream of known length": async (b) => {
    const { readable, writable } = new FixedLengthStream(5);
    const writer = writable.getWriter();
    const done = writer.write(new TextEncoder().encode("12345")).then(() => writer.close());
    const put = await b.put("stream", readable);
    await done;
    return put;
  },
  "replace it": async (b) => [await b.put("stream", "67890"), await read(await b.get("stream"))],
  "get as json": async (b) => { await b.put("json", '{"a":[1]}'); return (await b.get("json")).json(); },
  "a key with odd characters": async (b) => {
    const key = 'ä/ö ?&="%20\u{1F600}';
    return [await b.put(key, "x"), await read(await b.get(key)), await b.delete(key), await b.get(key)];
  },
  "an empty key": (b) => b.put("", "x"),
  "a key of 1024 bytes": async (b) => [await b.put(long(1024), "x"), await b.delete(long(1024))],
  "a key of 1025 bytes": (b) => b.put(long(1025), "x"),
  "get a key of 1025 bytes": (b) => b.get(long(1025)),
  "delete one": async (b) => [await b.delete("json"), await b.head("json")],
  "delete what is not there": (b) => b.delete("nope"),
  "delete many": async (b) => {
    await b.put("d1", "x"); await b.put("d2", "x"); await b.put("d3", "x");
    return [await b.delete(["d1", "nope", "d3"]), (await page(b, { prefix: "d" })).keys, await b.delete("d2")];
  },
  "delete none": (b) => b.delete([]),
  "delete 1001 keys": (b) => b.delete(Array.from({ length: 1001 }, (_, i) => `n${i}`)),
  "a mebibyte": async (b) => {
    await b.put("big", "x".repeat(MIB));
    const text = await (await b.get("big")).text();
    return [text.length, /^x+$/.test(text), await b.delete("big")];
  },

  // metadata
  "http metadata": async (b) => {
    await b.put("meta", TEXT, { httpMetadata: { contentType: "text/x", contentLanguage: "de", contentDisposition: "inline",
      contentEncoding: "identity", cacheControl: "no-store", cacheExpiry: new Date(1800000000000) } });
    return [await read(await b.get("meta")), await b.head("meta")];
  },
  "http metadata from headers": async (b) => {
    await b.put("meta-h", TEXT, { httpMetadata: new Headers({ "content-type": "text/y", "cache-control": "max-age=1", "expires": "Fri, 15 Jan 2027 08:00:00 GMT", "x-other": "z" }) });
    return b.head("meta-h");
  },
  "custom metadata": async (b) => { await b.put("meta-c", TEXT, { customMetadata: { b: "2", a: "1", "Ünï": "çödé" } }); return b.head("meta-c"); },
  "much custom metadata": (b) => b.put("meta-2", TEXT, { customMetadata: { k: "v".repeat(2000) } }),
  "more than 2 KiB of custom metadata": async (b) => {
    const put = await b.put("meta-3", TEXT, { customMetadata: { k: "v".repeat(3000) } });
    await b.delete("meta-3");
    return put.size;
  },
  "too much custom metadata": (b) => b.put("meta-4", TEXT, { customMetadata: { k: "v".repeat(9000) } }),
  "a storage class": async (b) => { await b.put("cold", TEXT, { storageClass: "InfrequentAccess" }); return (await b.head("cold")).storageClass; },
  "the usual storage class": async (b) => (await b.head("a.txt")).storageClass,
  "an overwrite drops metadata": async (b) => [await b.put("meta-c", "x"), await b.head("meta-c")],

  // ranges
  "range: offset": async (b) => read(await b.get("a.txt", { range: { offset: 4 } })),
  "range: length": async (b) => read(await b.get("a.txt", { range: { length: 4 } })),
  "range: both": async (b) => read(await b.get("a.txt", { range: { offset: 2, length: 3 } })),
  "range: longer than the object": async (b) => read(await b.get("a.txt", { range: { offset: 8, length: 99 } })),
  "range: at the end": async (b) => read(await b.get("a.txt", { range: { offset: 10 } })),
  "range: beyond the end": async (b) => read(await b.get("a.txt", { range: { offset: 11 } })),
  "range: no length": async (b) => read(await b.get("a.txt", { range: { offset: 1, length: 0 } })),
  "range: suffix": async (b) => read(await b.get("a.txt", { range: { suffix: 3 } })),
  "range: suffix longer than the object": async (b) => read(await b.get("a.txt", { range: { suffix: 99 } })),
  "range: no suffix": async (b) => read(await b.get("a.txt", { range: { suffix: 0 } })),
  "range of an empty object": async (b) => read(await b.get("empty", { range: { offset: 0, length: 1 } })),
  ...Object.fromEntries(["bytes=0-0", "bytes=2-4", "bytes=7-", "bytes=-2", "bytes=5-99", "bytes=10-", "bytes=99-100", "bytes=4-2",
    "bytes=0-1,3-4", "bytes=", "bytes=-0", "bytes=-99", "lines=1-2", "bytes=a-b", "bytes= 1 - 2 "].map((header) =>
    [`range header ${header}`, async (b) => read(await b.get("a.txt", { range: new Headers({ range: header }) }))])),

  // conditions
  ...Object.fromEntries(Object.entries({
    "etag matches": { etagMatches: MD5 },
    "etag does not match": { etagMatches: "00" },
    "etag matches any": { etagMatches: "*" },
    "not that etag": { etagDoesNotMatch: "00" },
    "not this etag": { etagDoesNotMatch: MD5 },
    "not any": { etagDoesNotMatch: "*" },
    "before long ago": { uploadedBefore: new Date(0) },
    "before the future": { uploadedBefore: new Date(4e12) },
    "after long ago": { uploadedAfter: new Date(0) },
    "after the future": { uploadedAfter: new Date(4e12) },
    "seconds": { uploadedBefore: new Date(4e12), secondsGranularity: true },
    "etag outweighs before": { etagMatches: MD5, uploadedBefore: new Date(0) },
    "etag outweighs after": { etagDoesNotMatch: "00", uploadedAfter: new Date(4e12) },
    "both must hold": { etagMatches: MD5, etagDoesNotMatch: MD5 },
    "if-match": new Headers({ "if-match": `"${MD5}"` }),
    "if-match of several": new Headers({ "if-match": `"00", W/"${MD5}", "${MD5}"` }),
    "if-match, weak": new Headers({ "if-match": `W/"${MD5}"` }),
    "if-none-match": new Headers({ "if-none-match": `"${MD5}"` }),
    "if-none-match, weak": new Headers({ "if-none-match": `W/"${MD5}"` }),
    "if-none-match of any": new Headers({ "if-none-match": "*" }),
    "if-modified-since": new Headers({ "if-modified-since": "Fri, 15 Jan 2100 08:00:00 GMT" }),
    "if-unmodified-since": new Headers({ "if-unmodified-since": "Thu, 01 Jan 1970 00:00:01 GMT" }),
  }).flatMap(([name, onlyIf]) => [
    [`get only if: ${name}`, async (b) => read(await b.get("a.txt", { onlyIf }))],
    [`put only if: ${name}`, async (b) => { await b.put("if", TEXT); return b.put("if", "new", { onlyIf }); }],
    [`put of a new key only if: ${name}`, async (b) => { await b.delete("if-new"); return b.put("if-new", "new", { onlyIf }); }],
  ])),
  "get only if, of what is not there": (b) => b.get("nope", { onlyIf: { etagMatches: MD5 } }),

  // checksums
  "md5 that fits": (b) => b.put("sum", TEXT, { md5: MD5 }),
  "md5 that does not": (b) => b.put("sum", TEXT, { md5: "0".repeat(32) }),
  ...Object.fromEntries(["SHA-1", "SHA-256", "SHA-384", "SHA-512"].flatMap((algorithm) => {
    const field = algorithm.toLowerCase().replace("-", "");
    return [
      [`${field} that fits`, async (b) => [await b.put("sum", TEXT, { [field]: await digest(algorithm, TEXT) }), await b.head("sum")]],
      [`${field} that does not`, async (b) => b.put("sum", TEXT, { [field]: await digest(algorithm, "other") })],
    ];
  })),
  "two checksums": async (b) => b.put("sum", TEXT, { md5: MD5, sha1: await digest("SHA-1", TEXT) }),

  // lists
  "keys to list": async (b) => {
    for (const key of ["l/a", "l/b/1", "l/b/2", "l/c", "l/d/x/1", "l/d/x/2", "l/d/y", "l/e", "l/é", "m"]) {
      await b.put(key, key, { customMetadata: { key }, httpMetadata: { contentType: "text/l" } });
    }
  },
  "list all": (b) => page(b, { prefix: "l/" }),
  "list with a prefix that is no folder": (b) => page(b, { prefix: "l/b" }),
  "list nothing": (b) => page(b, { prefix: "zzz" }),
  "list with a delimiter": (b) => page(b, { prefix: "l/", delimiter: "/" }),
  "list with a delimiter and no prefix": (b) => page(b, { delimiter: "/" }),
  "list with a long delimiter": (b) => page(b, { prefix: "l/", delimiter: "/x/" }),
  "list with an empty delimiter": (b) => page(b, { prefix: "l/", delimiter: "" }),
  "list in pages of 2": (b) => allPages(b, { prefix: "l/", limit: 2 }),
  "list in pages of 1 with a delimiter": (b) => allPages(b, { prefix: "l/", limit: 1, delimiter: "/" }),
  "list in pages of 3 with a delimiter": (b) => allPages(b, { prefix: "l/", limit: 3, delimiter: "/" }),
  "list after a key": (b) => page(b, { prefix: "l/", startAfter: "l/c" }),
  "list after what is not there": (b) => page(b, { prefix: "l/", startAfter: "l/bb" }),
  "list after a key inside of a group": (b) => page(b, { prefix: "l/", startAfter: "l/b/1", delimiter: "/" }),
  "list of limit 0": (b) => page(b, { limit: 0 }),
  "list of limit 1001": (b) => page(b, { limit: 1001 }),
  "list with a bad cursor": (b) => page(b, { cursor: "?" }),
  "list without metadata": async (b) => tell((await b.list({ prefix: "l/a" })).objects),
  "list with http metadata": async (b) => tell((await b.list({ prefix: "l/a", include: ["httpMetadata"] })).objects),
  "list with custom metadata": async (b) => tell((await b.list({ prefix: "l/a", include: ["customMetadata"] })).objects),
  "list with both": async (b) => tell((await b.list({ prefix: "l/", include: ["customMetadata", "httpMetadata"] })).objects),
  "list of many": async (b) => {
    await Promise.all(Array.from({ length: 120 }, (_, i) => b.put(`many/${String(i).padStart(4, "0")}`, "x")));
    const plain = await b.list({ prefix: "many/" });
    const detailed = await b.list({ prefix: "many/", include: ["httpMetadata"] });
    return [plain.objects.length, plain.truncated, detailed.objects.length, detailed.truncated];
  },

  // multipart
  "an upload in parts": async (b) => {
    const upload = await b.createMultipartUpload("parts", { customMetadata: { a: "b" }, httpMetadata: { contentType: "text/p" } });
    const first = await upload.uploadPart(1, "a".repeat(5 * MIB));
    const second = await b.resumeMultipartUpload("parts", upload.uploadId).uploadPart(2, "bc");
    const done = await upload.complete([second, first].sort((x, y) => x.partNumber - y.partNumber));
    return [upload.key, typeof upload.uploadId, first.partNumber, typeof first.etag, done, await b.head("parts"),
      await read(await b.get("parts", { range: { offset: 5 * MIB - 2, length: 4 } }))];
  },
  "parts that are too small": async (b) => {
    const upload = await b.createMultipartUpload("parts-2");
    const parts = [await upload.uploadPart(1, "a"), await upload.uploadPart(2, "b")];
    return upload.complete(parts);
  },
  "parts of unequal size": async (b) => {
    const upload = await b.createMultipartUpload("parts-3");
    const parts = [await upload.uploadPart(1, "a".repeat(5 * MIB)), await upload.uploadPart(2, "b".repeat(5 * MIB + 1))];
    return upload.complete(parts);
  },
  "a part that is replaced": async (b) => {
    const upload = await b.createMultipartUpload("parts-4");
    await upload.uploadPart(1, "old");
    const part = await upload.uploadPart(1, "new");
    return [await upload.complete([part]), await read(await b.get("parts-4"))];
  },
  "a part with a wrong etag": async (b) => {
    const upload = await b.createMultipartUpload("parts-5");
    await upload.uploadPart(1, "x");
    return upload.complete([{ partNumber: 1, etag: "wrong" }]);
  },
  "a part that was not uploaded": async (b) => {
    const upload = await b.createMultipartUpload("parts-6");
    const part = await upload.uploadPart(1, "x");
    return upload.complete([part, { partNumber: 2, etag: part.etag }]);
  },
  "a part named twice": async (b) => {
    const upload = await b.createMultipartUpload("parts-7");
    const part = await upload.uploadPart(1, "x");
    return upload.complete([part, part]);
  },
  "no parts": async (b) => (await b.createMultipartUpload("parts-8")).complete([]),
  "part number 0": async (b) => (await b.createMultipartUpload("parts-9")).uploadPart(0, "x"),
  "part number 10001": async (b) => (await b.createMultipartUpload("parts-9")).uploadPart(10001, "x"),
  "abort": async (b) => {
    const upload = await b.createMultipartUpload("parts-10");
    await upload.uploadPart(1, "x");
    return [await upload.abort(), await b.head("parts-10")];
  },
  "abort twice": async (b) => { const u = await b.createMultipartUpload("p"); await u.abort(); return u.abort(); },
  "a part after abort": async (b) => { const u = await b.createMultipartUpload("p"); await u.abort(); return u.uploadPart(1, "x"); },
  "complete after abort": async (b) => { const u = await b.createMultipartUpload("p"); const part = await u.uploadPart(1, "x"); await u.abort(); return u.complete([part]); },
  "complete twice": async (b) => { const u = await b.createMultipartUpload("p"); const part = await u.uploadPart(1, "x"); await u.complete([part]); return u.complete([part]); },
  "a part of an unknown upload": (b) => b.resumeMultipartUpload("p", "unknown").uploadPart(1, "x"),
  "complete an unknown upload": (b) => b.resumeMultipartUpload("p", "unknown").complete([]),
  "abort an unknown upload": (b) => b.resumeMultipartUpload("p", "unknown").abort(),
  "an upload under another key": async (b) => { const u = await b.createMultipartUpload("p"); return b.resumeMultipartUpload("q", u.uploadId).uploadPart(1, "x"); },
};

export default {
  async fetch(request, env) {
    const results = {};
    for (const [name, run] of Object.entries(CASES)) {
      try {
        results[name] = tell(await run(env.BUCKET));
      } catch (error) {
        results[name] = { error: error.message.replaceAll(/\b[A-Za-z0-9_-]{100,}\b/g, "(id)") };
      }
    }
    return Response.json(results);
  },
};
