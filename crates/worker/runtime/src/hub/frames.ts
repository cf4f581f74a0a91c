// The Hub's protocol: JSON-RPC 2.0 in text frames. Reading is lenient, since a Hub may leave parts out or add some.

/** Frames beyond this are refused, by us and by the Hub. */
export const LONGEST_FRAME = 1024 * 1024;

export type Id = string | number;
type Json = Record<string, unknown>;

/** What came in, as far as it could be understood. */
export type Incoming =
  | { readonly kind: "call"; readonly id: Id | undefined; readonly method: string; readonly params: Json }
  | { readonly kind: "answer"; readonly id: Id; readonly result: unknown; readonly error: string | undefined }
  | { readonly kind: "noise" };

/** Reads one frame. */
export function read(text: string): Incoming {
  let frame: unknown;
  try {
    frame = JSON.parse(text);
  } catch {
    return { kind: "noise" };
  }
  if (!isObject(frame)) return { kind: "noise" };
  const id = typeof frame.id === "string" || typeof frame.id === "number" ? frame.id : undefined;
  if (typeof frame.method === "string") {
    return { kind: "call", id, method: frame.method, params: isObject(frame.params) ? frame.params : {} };
  }
  if (id === undefined) return { kind: "noise" };
  const error = frame.error === undefined || frame.error === null ? undefined : errorText(frame.error);
  return { kind: "answer", id, result: frame.result, error };
}

/** A request or, without an id, a notification. */
export function request(method: string, params: Json, id?: Id): Json {
  return { jsonrpc: "2.0", ...(id === undefined ? {} : { id }), method, params };
}

/** An answer that says what is wrong with a request. */
export function refusal(id: Id, code: number, message: string): Json {
  return { jsonrpc: "2.0", id, error: { code, message } };
}

/** The status of a task, as `task.status` and `task.complete` carry it. */
export function status(taskId: string, state: string, text: string | undefined, final: boolean): Json {
  const message = text === undefined ? {} : { message: { role: "agent", parts: [{ type: "text", text }] } };
  return { task_id: taskId, status: { state, ...message }, final };
}

/** What `task.execute` asks for. */
export interface TaskRequest {
  readonly id: string;
  readonly session: string;
  readonly text: string;
}

/** Reads the parameters of `task.execute`; a task without an id cannot be answered. A task without a session is one of its own. */
export function taskRequest(params: Json): TaskRequest | undefined {
  const id = name(params.id) ?? name(params.task_id);
  if (id === undefined) return undefined;
  const session = name(params.sessionId) ?? name(params.session_id) ?? id;
  return { id, session, text: messageText(params.message) };
}

/** The text of an A2A message, or of something like one. */
export function messageText(message: unknown): string {
  if (typeof message === "string") return message;
  if (!isObject(message) || !Array.isArray(message.parts)) return "";
  const texts = message.parts.flatMap((part) => (isObject(part) && typeof part.text === "string" ? [part.text] : []));
  return texts.join("\n");
}

/** An id as text, if it is one. */
export function name(value: unknown): string | undefined {
  if (typeof value === "number") return String(value);
  return typeof value === "string" && value !== "" ? value : undefined;
}

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function errorText(error: unknown): string {
  if (typeof error === "string") return error;
  return isObject(error) && typeof error.message === "string" ? error.message : "unspecified error";
}
