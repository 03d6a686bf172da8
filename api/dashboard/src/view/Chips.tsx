import { DIMENSIONS, type Dimension, type Filters } from "../address/address";
import { useAddress } from "../address/useAddress";
import { useLocale } from "../i18n/locale";
import { nameOf } from "../i18n/names";

/** Filters without one value. */
function without(filters: Filters, dimension: Dimension, value: string): Filters {
  const { [dimension]: values = [], ...rest } = filters;
  const left = values.filter((one) => one !== value);
  return left.length === 0 ? rest : { ...rest, [dimension]: left };
}

/** The filters that are on, each with a way to take it off. */
export function Chips() {
  const { t } = useLocale();
  const [{ filters }, go] = useAddress();
  const on = DIMENSIONS.flatMap((dimension) =>
    (filters[dimension] ?? []).map((value) => ({ dimension, value })),
  );
  if (on.length === 0) {
    return null;
  }
  return (
    <section className="bar chips" aria-label={t.filters.label}>
      {on.map(({ dimension, value }) => {
        const name = `${t.filters[dimension]}: ${nameOf(value, t)}`;
        return (
          <button
            key={`${dimension} ${value}`}
            type="button"
            className="chip"
            aria-label={t.filters.remove(name)}
            onClick={() => go({ filters: without(filters, dimension, value) })}
          >
            <span className="muted">{t.filters[dimension]}</span> <bdi>{nameOf(value, t)}</bdi>{" "}
            <span aria-hidden="true">×</span>
          </button>
        );
      })}
      {on.length > 1 && (
        <button type="button" className="link" onClick={() => go({ filters: {} })}>
          {t.filters.clear}
        </button>
      )}
    </section>
  );
}
