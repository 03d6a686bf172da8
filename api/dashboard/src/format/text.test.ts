import { expect, test } from "vitest";
import { visible } from "./text";

test("what is not seen, or turns others around, is shown by its number", () => {
  for (const [text, shown] of [
    ["", ""],
    ["support", "support"],
    ["Jürgen Ångström 李", "Jürgen Ångström 李"],
    ["שלום", "שלום"],
    ["a\u202Egnp.exe", "a‹U+202E›gnp.exe"],
    ["\u2066a\u2069", "‹U+2066›a‹U+2069›"],
    ["\u200Fa", "‹U+200F›a"],
    ["sup\u200Bport", "sup‹U+200B›port"],
    ["sup\u200Dport", "sup‹U+200D›port"],
    ["\uFEFFsupport", "‹U+FEFF›support"],
    ["sup\u00ADport", "sup‹U+00AD›port"],
    ["sup\u3164port", "sup‹U+3164›port"],
    ["a\u00A0b", "a‹U+00A0›b"],
    ["a b", "a b"],
    [" a ", "‹U+0020›a‹U+0020›"],
    ["a\nb", "a‹U+000A›b"],
    ["a\u{E0041}b", "a‹U+E0041›b"],
  ] as const) {
    expect(visible(text), JSON.stringify(text)).toBe(shown);
  }
});
