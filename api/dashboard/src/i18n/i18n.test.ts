import { expect, test } from "vitest";
import { de } from "./de";
import { en } from "./en";
import { languageOf, localeOf } from "./locale";

type Tree = { [key: string]: Tree | string | ((...values: never[]) => string) };

/** Every message under its path; what it says, where it takes no values. */
function messages(tree: Tree, path = ""): [string, string | number][] {
  return Object.entries(tree).flatMap<[string, string | number]>(([key, value]) => {
    const name = `${path}.${key}`;
    if (typeof value === "object") {
      return messages(value, name);
    }
    return [[name, typeof value === "function" ? value.length : value]];
  });
}

test("both languages say the same things, with the same values", () => {
  const shape = (tree: Tree) =>
    messages(tree).map(([name, said]) => (typeof said === "number" ? `${name}/${said}` : name));
  expect(shape(de)).toEqual(shape(en));
});

test("nothing is left empty or untranslated", () => {
  const english = new Map(messages(en));
  // Words that both languages have.
  const same = new Set([".theme.system", ".metric.tokens", ".table.csv", ".filters.provider"]);
  for (const [name, said] of messages(de)) {
    expect(said, name).not.toBe("");
    if (typeof said === "string" && !same.has(name)) {
      expect(said, name).not.toBe(english.get(name));
    }
  }
});

test("the language is the first that the page speaks, in somebody's own form", () => {
  expect(languageOf(["fr", "de-AT", "en"])).toBe("de");
  expect(languageOf(["fr"])).toBe("en");
  expect(localeOf("de", ["fr", "de-AT"])).toBe("de-AT");
  expect(localeOf("en", ["fr"])).toBe("en");
});
