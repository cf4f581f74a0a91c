// Reading a tool's arguments: models sometimes leave things out or take the wrong type. Errors go back to the model.

type Args = Record<string, unknown>;

/** A text that must be there. */
export function text(args: Args, name: string, longest: number): string {
  const value = args[name];
  if (typeof value !== "string" || value === "") throw new Error(`"${name}" must be a text that is not empty`);
  if (value.length > longest)
    throw new Error(`"${name}" has ${value.length} characters, at most ${longest} are allowed`);
  return value;
}

/** A text that may be missing. */
export function optionalText(args: Args, name: string, longest: number): string | undefined {
  return args[name] === undefined || args[name] === "" ? undefined : text(args, name, longest);
}

/** A whole number in a range, or what is usual. */
export function count(args: Args, name: string, usual: number, most: number): number {
  const value = Number(args[name] ?? usual);
  return Number.isInteger(value) && value >= 1 ? Math.min(value, most) : usual;
}

/** JSON Schema of an object with these properties. */
export function schema(properties: Record<string, unknown>, required: string[]): Args {
  return { type: "object", properties, required, additionalProperties: false };
}
