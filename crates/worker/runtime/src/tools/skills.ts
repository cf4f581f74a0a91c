// The agent's skills, read on demand.

import type { Tool } from "../engine.ts";
import type { Identity } from "../identity.ts";
import { schema, text } from "./input.ts";

/** `skill_read`; none for an agent without skills. */
export function skillTools(identity: Identity): Tool[] {
  if (identity.skills.length === 0) return [];
  return [
    {
      name: "skill_read",
      label: "Read skill",
      description: "Reads one of the skills listed in <available_skills>.",
      parameters: schema({ id: { type: "string", description: "The skill's name as listed" } }, ["id"]),
      async run(args) {
        const id = text(args, "id", 100);
        const skill = identity.skills.find((one) => one.id === id);
        if (!skill)
          throw new Error(`there is no skill ${id}; there are: ${identity.skills.map((s) => s.id).join(", ")}`);
        return skillFile(skill);
      },
    },
  ];
}

/** A skill as OpenClaw keeps it in SKILL.md. */
export function skillFile(skill: Identity["skills"][number]): string {
  const description = JSON.stringify(skill.text.split("\n", 1)[0] ?? "");
  return `---\nname: ${skill.id}\ndescription: ${description}\n---\n\n# ${skill.name}\n\n${skill.text}\n`;
}
