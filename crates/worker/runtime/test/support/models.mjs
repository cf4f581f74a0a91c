// Model servers that say what a test wants: Anthropic Messages, OpenAI Responses and OpenAI Completions on one port.
import { createServer } from "node:http";
import { bodyOf } from "./wait.mjs";

/**
 * @typedef {object} Step what one request gets
 * @property {string[]} [text] pieces of an answer
 * @property {{name: string, args: object}} [tool] a tool call
 * @property {number} [status] an error
 * @property {Record<string, string>} [headers]
 * @property {string} [message] the error's text
 * @property {boolean} [cut] ends the connection in the middle
 * @property {number} [pauseMs] waits between the pieces
 */

/** How each of the three is reached and how it streams. */
export const APIS = {
  "anthropic-messages": { model: "anthropic/claude-test", path: "/v1/messages", vars: {}, stream: anthropic },
  "openai-responses": { model: "openai/gpt-test", path: "/v1/responses", vars: {}, stream: responses },
  "openai-completions": {
    model: "openai/gpt-test",
    path: "/v1/chat/completions",
    vars: { OPENAI_API: "completions" },
    stream: completions,
  },
};

/** Starts the servers. `script` holds the coming steps; the last one stays. */
export async function startModels() {
  /** @type {Step[]} */
  const script = [];
  /** @type {{path: string, headers: import("node:http").IncomingHttpHeaders, body: any, at: number}[]} */
  const requests = [];
  const server = createServer(async (request, response) => {
    const sent = await bodyOf(request);
    if (!sent) return;
    const body = JSON.parse(sent.toString("utf8"));
    requests.push({ path: request.url ?? "", headers: request.headers, body, at: Date.now() });
    const api = Object.values(APIS).find((one) => one.path === request.url);
    const step = script.length > 1 ? script.shift() : script[0];
    if (!api || !step) {
      response.writeHead(404).end();
      return;
    }
    if (step.status) {
      const error = { type: "test_error", message: step.message ?? "as the test wants it" };
      response.writeHead(step.status, { "content-type": "application/json", ...step.headers });
      response.end(JSON.stringify({ type: "error", error }));
      return;
    }
    response.writeHead(200, { "content-type": "text/event-stream" });
    for (const event of api.stream(step)) {
      if (event === "pause") {
        // A test may end before the pause does.
        await new Promise((resolve) => setTimeout(resolve, step.pauseMs ?? 0).unref());
        if (step.cut) {
          response.destroy();
          return;
        }
      } else {
        response.write(event);
      }
    }
    response.end();
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const port = /** @type {import("node:net").AddressInfo} */ (server.address()).port;
  return {
    script,
    requests,
    /** @param {keyof typeof APIS} api */
    vars: (api) => ({
      OPENCLAW_MODEL: APIS[api].model,
      ANTHROPIC_BASE_URL: `http://127.0.0.1:${port}`,
      OPENAI_BASE_URL: `http://127.0.0.1:${port}/v1`,
      ANTHROPIC_API_KEY: "sk-ant-test-key",
      OPENAI_API_KEY: "sk-openai-test-key",
      ...APIS[api].vars,
    }),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

const sse = (data, event) => `${event ? `event: ${event}\n` : ""}data: ${JSON.stringify(data)}\n\n`;
const named = (data) => sse(data, data.type);

/** @param {Step} step */
function* anthropic(step) {
  const usage = { input_tokens: 10, output_tokens: 1 };
  const message = { id: "msg_1", type: "message", role: "assistant", model: "claude-test", content: [], usage };
  yield named({ type: "message_start", message: { ...message, stop_reason: null, stop_sequence: null } });
  if (step.tool) {
    const block = { type: "tool_use", id: "toolu_1", name: step.tool.name, input: {} };
    yield named({ type: "content_block_start", index: 0, content_block: block });
    const delta = { type: "input_json_delta", partial_json: JSON.stringify(step.tool.args) };
    yield named({ type: "content_block_delta", index: 0, delta });
  } else {
    yield named({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } });
    for (const text of step.text ?? []) {
      yield named({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } });
      yield "pause";
    }
  }
  yield named({ type: "content_block_stop", index: 0 });
  const stop = { stop_reason: step.tool ? "tool_use" : "end_turn", stop_sequence: null };
  yield named({ type: "message_delta", delta: stop, usage: { output_tokens: 5 } });
  yield named({ type: "message_stop" });
}

/** @param {Step} step */
function* responses(step) {
  let sequence_number = 0;
  const event = (data) => named({ ...data, sequence_number: sequence_number++ });
  const response = { id: "resp_1", object: "response", created_at: 1, model: "gpt-test", output: [] };
  yield event({ type: "response.created", response: { ...response, status: "in_progress" } });
  let item;
  if (step.tool) {
    const args = JSON.stringify(step.tool.args);
    const call = { type: "function_call", id: "fc_1", call_id: "call_1", name: step.tool.name };
    yield event({ type: "response.output_item.added", output_index: 0, item: { ...call, arguments: "" } });
    yield event({ type: "response.function_call_arguments.delta", item_id: "fc_1", output_index: 0, delta: args });
    yield event({ type: "response.function_call_arguments.done", item_id: "fc_1", output_index: 0, arguments: args });
    item = { ...call, arguments: args, status: "completed" };
  } else {
    const place = { item_id: "msg_1", output_index: 0, content_index: 0 };
    const message = { type: "message", id: "msg_1", role: "assistant" };
    const added = { ...message, status: "in_progress", content: [] };
    yield event({ type: "response.output_item.added", output_index: 0, item: added });
    const empty = { type: "output_text", text: "", annotations: [] };
    yield event({ type: "response.content_part.added", ...place, part: empty });
    for (const delta of step.text ?? []) {
      yield event({ type: "response.output_text.delta", ...place, delta });
      yield "pause";
    }
    const text = (step.text ?? []).join("");
    yield event({ type: "response.output_text.done", ...place, text });
    const part = { type: "output_text", text, annotations: [] };
    yield event({ type: "response.content_part.done", ...place, part });
    item = { ...message, status: "completed", content: [part] };
  }
  yield event({ type: "response.output_item.done", output_index: 0, item });
  const usage = { input_tokens: 10, output_tokens: 5, total_tokens: 15 };
  yield event({ type: "response.completed", response: { ...response, status: "completed", output: [item], usage } });
}

/** @param {Step} step */
function* completions(step) {
  const chunk = (delta, finish_reason = null) =>
    sse({
      id: "chatcmpl-1",
      object: "chat.completion.chunk",
      created: 1,
      model: "gpt-test",
      choices: [{ index: 0, delta, finish_reason }],
    });
  yield chunk({ role: "assistant", content: "" });
  if (step.tool) {
    const call = { name: step.tool.name, arguments: JSON.stringify(step.tool.args) };
    yield chunk({ tool_calls: [{ index: 0, id: "call_1", type: "function", function: call }] });
  } else {
    for (const content of step.text ?? []) {
      yield chunk({ content });
      yield "pause";
    }
  }
  yield chunk({}, step.tool ? "tool_calls" : "stop");
  yield "data: [DONE]\n\n";
}
