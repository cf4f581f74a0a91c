// Asks a model's server again where that can help. Once an answer has begun nothing is repeated.

/** Busy, limited or briefly broken. 529: Anthropic is overloaded. */
const AGAIN = new Set([408, 409, 429, 500, 502, 503, 504, 529]);
const TRIES = 4;
const LONGEST_MS = 60_000;

/** `fetch` with up to four tries, that waits as `retry-after` says, or `firstMs`, then twice as long each time. */
export function retryingFetch(firstMs: number): typeof fetch {
  return async (input, init) => {
    const signal = init?.signal ?? (input instanceof Request ? input.signal : undefined);
    for (let attempt = 1; ; attempt++) {
      let wait = firstMs * 2 ** (attempt - 1);
      try {
        const response = await fetch(input instanceof Request ? input.clone() : input, init);
        if (!AGAIN.has(response.status) || attempt === TRIES) return response;
        wait = retryAfter(response.headers) ?? wait;
        if (wait > LONGEST_MS) return response;
        await response.body?.cancel();
      } catch (error) {
        if (signal?.aborted || attempt === TRIES) throw error;
      }
      await pause(wait, signal);
    }
  };
}

/** Milliseconds, if the server said so in seconds or as a date. */
function retryAfter(headers: Headers): number | undefined {
  const text = headers.get("retry-after");
  if (text === null) return undefined;
  const seconds = Number(text);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(text);
  return Number.isNaN(date) ? undefined : Math.max(0, date - Date.now());
}

/** Waits; throws the signal's reason as soon as it is aborted. */
export function pause(ms: number, signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
