// Keeps the Worker's own secrets out of everything that leaves it: frames, R2, logs. A provider may repeat a key in an
// error message, and a model may be talked into repeating what it was shown.

const MARK = "[redacted]";
/** Shorter values would blot out ordinary words. */
const SHORTEST = 8;

/** Knows the values that must not appear. */
export class Redactor {
  private readonly values: string[];

  constructor(values: string[]) {
    const forms = values
      .filter((value) => value.length >= SHORTEST)
      .flatMap((value) => [
        value,
        encodeURIComponent(value),
        btoa(String.fromCharCode(...new TextEncoder().encode(value))),
      ]);
    this.values = [...new Set(forms)].sort((a, b) => b.length - a.length);
  }

  /** The text with every value replaced. */
  text(text: string): string {
    let clean = text;
    for (const value of this.values) clean = clean.replaceAll(value, MARK);
    return clean;
  }

  /** A JSON-like value with every string in it replaced. */
  value<T>(value: T): T {
    const clean = (_: string, part: unknown) => (typeof part === "string" ? this.text(part) : part);
    return JSON.parse(JSON.stringify(value), clean) as T;
  }

  /** For text that comes in pieces: holds back what may be the beginning of a value. */
  stream(): { push(piece: string): string; end(): string } {
    let held = "";
    return {
      push: (piece) => {
        const clean = this.text(held + piece);
        const cut = clean.length - this.openEnd(clean);
        held = clean.slice(cut);
        return clean.slice(0, cut);
      },
      end: () => {
        const rest = held;
        held = "";
        return rest;
      },
    };
  }

  /** Length of the longest end of `text` that is the beginning of a value. */
  private openEnd(text: string): number {
    let longest = 0;
    for (const value of this.values) {
      for (let length = Math.min(value.length - 1, text.length); length > longest; length--) {
        if (value.startsWith(text.slice(text.length - length))) {
          longest = length;
          break;
        }
      }
    }
    return longest;
  }
}
