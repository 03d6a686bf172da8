import type { Dimension } from "../address/address";
import { useLocale } from "../i18n/locale";
import { isSentinel, nameOf, whyOf } from "../i18n/names";

interface Props {
  dimension: Dimension;
  value: string;
  /** What a click on it does, if anything: show only this. */
  filter?: () => void;
}

/** The value of a dimension, under the name that people know it by. */
export function Value({ dimension, value, filter }: Props) {
  const { t } = useLocale();
  const name = nameOf(value, t);
  const why = whyOf(dimension, value, t);
  const shown = isSentinel(value) ? <em>{name}</em> : <bdi>{name}</bdi>;
  if (!filter) {
    return (
      <span className="value" title={why ?? name}>
        {shown}
      </span>
    );
  }
  return (
    <button type="button" className="value link" title={why ?? t.top.filter(name)} onClick={filter}>
      {shown}
    </button>
  );
}
