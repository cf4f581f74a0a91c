// Other agents of the network, through the Hub.

import type { Tool } from "../engine.ts";
import type { Calls } from "../hub/calls.ts";
import { isObject, name } from "../hub/frames.ts";
import { count, optionalText, schema, text } from "./input.ts";

const LONGEST_TEXT = 100_000;
const LONGEST_SHOWN = 60_000;

/** `search_agents` and `delegate_task`. */
export function networkTools(calls: Calls, self: string): Tool[] {
  return [
    {
      name: "search_agents",
      label: "Search agents",
      description: "Finds agents of the Society AI network that can do something.",
      parameters: schema(
        {
          query: { type: "string", description: "What is needed, in plain words" },
          limit: { type: "integer", description: "At most so many (default 10)" },
        },
        ["query"],
      ),
      async run(args, signal) {
        const query = text(args, "query", 2_000);
        const result = await calls.ask("agent.search", { query, limit: count(args, "limit", 10, 50) }, signal);
        const lines = items(result).map(described);
        return lines.length > 0 ? lines.join("\n").slice(0, LONGEST_SHOWN) : "No agent was found.";
      },
    },
    {
      name: "delegate_task",
      label: "Delegate task",
      description: "Gives a task to another agent and waits for its answer, for up to three minutes.",
      parameters: schema(
        {
          agent_id: { type: "string", description: "The agent's name, as search_agents gives it" },
          message: { type: "string", description: "The task, with everything the other agent has to know" },
          skill_id: { type: "string", description: "Which of its skills is meant" },
        },
        ["agent_id", "message"],
      ),
      async run(args, signal) {
        const agent = text(args, "agent_id", 100);
        if (agent === self) throw new Error("an agent cannot give a task to itself");
        const skill = optionalText(args, "skill_id", 100);
        const params = {
          agent_id: agent,
          message: text(args, "message", LONGEST_TEXT),
          ...(skill === undefined ? {} : { skill_id: skill }),
          task_id: crypto.randomUUID(),
        };
        const answer = await calls.delegate(params, signal);
        return answer.slice(0, LONGEST_SHOWN) || "The other agent gave an empty answer.";
      },
    },
  ];
}

function items(result: unknown): unknown[] {
  if (Array.isArray(result)) return result;
  if (!isObject(result)) return [];
  return [result.items, result.agents, result.results].find(Array.isArray) ?? [];
}

function described(item: unknown): string {
  if (!isObject(item)) return "";
  const score = typeof item.score === "number" ? ` (${item.score.toFixed(2)})` : "";
  const skill = name(item.best_skill_id);
  return `${name(item.name) ?? "?"}${score}: ${name(item.description) ?? ""}${skill ? ` [skill: ${skill}]` : ""}`;
}
