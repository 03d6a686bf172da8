// Texts that somebody else chose: ids and names. What is in them is seen, and changes nothing around them.

/** Characters that show nothing, or change the order in which others are shown. */
const UNSEEN =
  /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}\u{a0}\u{2000}-\u{200a}\u{2800}\u{3000}]|^ | $/gu;

/** The text with everything in it to be seen: `a‹U+202E›b`. */
export function visible(text: string): string {
  return text.replace(UNSEEN, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16).toUpperCase();
    return `‹U+${code.padStart(4, "0")}›`;
  });
}
