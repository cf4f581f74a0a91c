// Waiting: for a condition with a deadline, and for what a peer sends.

/**
 * Asks until the answer is something, and gives it.
 *
 * @template T
 * @param {string} what for the message
 * @param {() => T | undefined | false | null | Promise<T | undefined | false | null>} probe
 * @param {number} [ms]
 * @returns {Promise<T>}
 */
export async function until(what, probe, ms = 10_000) {
  const end = Date.now() + ms;
  for (;;) {
    const answer = await probe();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/**
 * The body of a request; `undefined` if whoever sends it was killed meanwhile.
 *
 * @param {import("node:http").IncomingMessage} request
 * @returns {Promise<Buffer | undefined>}
 */
export async function bodyOf(request) {
  const chunks = [];
  try {
    for await (const chunk of request) chunks.push(chunk);
  } catch {
    return undefined;
  }
  return Buffer.concat(chunks);
}
