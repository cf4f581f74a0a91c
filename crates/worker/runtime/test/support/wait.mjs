// Waiting for a condition, with a deadline.

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
