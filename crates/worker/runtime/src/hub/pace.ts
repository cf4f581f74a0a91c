// All times of the connection, derived from the time between heartbeats so that tests can shorten them together.

/** Whole milliseconds: an alarm that is set for a fraction fires before it. */
export interface Pace {
  readonly heartbeat: number;
  /** From opening a socket to `registered: true`. */
  readonly registration: number;
  /** Without a frame from a Hub that answers heartbeats: the connection is dead. */
  readonly silence: number;
  /** Between a refusal that may pass and the end of that socket. */
  readonly parting: number;
  /** First and longest wait before the next socket. */
  readonly retry: readonly [first: number, longest: number];
  /** Without a task, for an agent that is not kept alive. */
  readonly idle: number;
}

const USUAL_HEARTBEAT_MS = 30_000;

/** 30 s between heartbeats unless told otherwise; 15 s, 90 s, 5 s, 1–60 s and 10 min follow. */
export function paceOf(heartbeatMs: string | undefined): Pace {
  const given = Number(heartbeatMs);
  const heartbeat = Number.isInteger(given) && given >= 50 ? given : USUAL_HEARTBEAT_MS;
  return {
    heartbeat,
    registration: Math.ceil(heartbeat / 2),
    silence: heartbeat * 3,
    parting: Math.ceil(heartbeat / 6),
    retry: [Math.ceil(heartbeat / 30), heartbeat * 2],
    idle: heartbeat * 20,
  };
}

/** Doubles with each attempt up to the longest, then takes between half and all of that. `random` is in [0, 1). */
export function retryDelay(pace: Pace, attempt: number, random: number): number {
  const [first, longest] = pace.retry;
  return Math.ceil(Math.min(longest, first * 2 ** Math.min(attempt, 30)) * (0.5 + random / 2));
}
