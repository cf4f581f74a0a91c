// Reads IDENTITY.md, which the controller compiles: labels, then the sections Persona, Instructions and Skills. Lines that
// a user wrote never begin with `#`, so the headings found here are the compiler's own.

/** One skill of the agent. */
export interface Skill {
  readonly id: string;
  readonly name: string;
  /** Description, tags and examples, as Markdown. */
  readonly text: string;
}

/** Who the agent is. */
export interface Identity {
  readonly name: string;
  readonly theme: string;
  readonly persona: string;
  readonly instructions: string;
  readonly skills: readonly Skill[];
  /** The text without its skills: those are listed, and read on demand. */
  readonly core: string;
}

/** Takes a text apart; what is missing is empty. */
export function parseIdentity(markdown: string): Identity {
  const at = markdown.search(/^## Skills$/m);
  const core = (at < 0 ? markdown : markdown.slice(0, at)).trimEnd();
  return {
    name: label(core, "Name"),
    theme: label(core, "Theme"),
    persona: section(core, "Persona"),
    instructions: section(core, "Instructions"),
    skills: at < 0 ? [] : skills(markdown.slice(at)),
    core: `${core}\n`,
  };
}

function label(text: string, name: string): string {
  const head = text.split(/^## /m, 1)[0] ?? "";
  return new RegExp(`^- \\*\\*${name}:\\*\\* (.*)$`, "m").exec(head)?.[1]?.trim() ?? "";
}

function section(text: string, name: string): string {
  const found = text.split(/^## /m).find((part) => part.startsWith(`${name}\n`));
  return found?.slice(name.length + 1).trim() ?? "";
}

function skills(text: string): Skill[] {
  return text
    .split(/^### /m)
    .slice(1)
    .map((part) => {
      const end = part.indexOf("\n");
      const heading = end < 0 ? part : part.slice(0, end);
      const colon = heading.indexOf(": ");
      const id = colon < 0 ? heading.trim() : heading.slice(0, colon);
      const name = colon < 0 ? id : heading.slice(colon + 2).trim();
      return { id, name, text: end < 0 ? "" : part.slice(end + 1).trim() };
    });
}
