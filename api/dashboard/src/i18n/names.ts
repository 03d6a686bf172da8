import type { Dimension } from "../address/address";
import { visible } from "../format/text";
import type { Messages } from "./en";

export const UNATTRIBUTED = "__unattributed__";
const UNKNOWN = "__unknown__";
const NONE = "__none__";

/** Whether a value stands for something that no event named. */
export function isSentinel(value: string): boolean {
  return value === UNATTRIBUTED || value === UNKNOWN || value === NONE;
}

/** What a value is called. */
export function nameOf(value: string, t: Messages): string {
  switch (value) {
    case UNATTRIBUTED:
      return t.names.unattributed;
    case UNKNOWN:
      return t.names.unknown;
    case NONE:
      return t.names.none;
    default:
      return visible(value);
  }
}

/** Why a value that stands for nobody is there. */
export function whyOf(dimension: Dimension, value: string, t: Messages): string | undefined {
  if (value !== UNATTRIBUTED) {
    return undefined;
  }
  return dimension === "userId" ? t.names.unattributedUser : t.names.unattributedWhy;
}
