import { useId, useState } from "react";
import { Bar, BarChart, CartesianGrid, ResponsiveContainer, Tooltip, XAxis, YAxis } from "recharts";
import type { Metric } from "../address/address";
import type { Period, Totals } from "../client/types";
import { formatPeriod, formatRange } from "../format/dates";
import type { Granularity } from "../format/granularity";
import { formatMoney } from "../format/money";
import { formatShort } from "../format/numbers";
import { useLocale } from "../i18n/locale";
import { Figure, heightOf, useFigures } from "../parts/figures";

/** A period with its totals. */
export type Bucket = Period & { totals: Totals };

interface Props {
  buckets: Bucket[];
  whole: Totals;
  metric: Metric;
  granularity: Granularity;
}

interface Point {
  name: string;
  bucket: Bucket;
  /** The parts of the bar, from the bottom. */
  heights: number[];
}

/** Bars over time, for the eye, the keyboard, and as a table. */
export function TrendChart({ buckets, whole, metric, granularity }: Props) {
  const { t, locale } = useLocale();
  const [asTable, setAsTable] = useState(false);
  const hasParts = metric === "tokens";
  const hasPartial = buckets.some(isUnfinished);
  const nameOf = (bucket: Bucket) => formatPeriod(bucket.periodKey, granularity, locale, t.week);
  const points = buckets.map<Point>((bucket) => ({
    name: nameOf(bucket),
    bucket,
    heights: hasParts
      ? [bucket.totals.inputTokens, bucket.totals.outputTokens]
      : [heightOf(bucket.totals, metric)],
  }));
  return (
    <>
      <div className="title legend">
        <h2>{t.trend.title(t.metric[metric])}</h2>
        {hasParts && (
          <>
            <span className="key input">{t.trend.input}</span>
            <span className="key output">{t.trend.output}</span>
          </>
        )}
        {hasPartial && <span className="key unfinished">{t.trend.legendPartial}</span>}
        <span className="spacer" />
        <button type="button" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
          {t.trend.numbers}
        </button>
      </div>
      {asTable ? (
        <Numbers buckets={buckets} whole={whole} metric={metric} nameOf={nameOf} />
      ) : (
        <Bars points={points} metric={metric} currency={whole.cost?.currency ?? null} />
      )}
    </>
  );
}

function isUnfinished(bucket: Period): boolean {
  return bucket.partial || !bucket.complete;
}

/** The library styles its texts inline: a class would not change them. */
const TICK = { fill: "var(--muted)", fontSize: 12 };

interface BarsProps {
  points: Point[];
  metric: Metric;
  currency: string | null;
}

function Bars({ points, metric, currency }: BarsProps) {
  const { t, locale } = useLocale();
  const stripes = useId();
  const help = useId();
  const parts = metric === "tokens" ? ["input", "output"] : ["input"];
  const tick = (value: number) =>
    metric === "cost" && currency !== null ? shortMoney(value, currency, locale) : formatShort(value, locale);
  return (
    // biome-ignore lint/a11y/useSemanticElements: a group of a picture, not of fields
    <div className="chart" role="group" aria-describedby={help}>
      <ResponsiveContainer width="100%" height={260} initialDimension={{ width: 640, height: 260 }}>
        <BarChart
          data={points}
          margin={{ top: 8, right: 8, bottom: 0, left: 0 }}
          barCategoryGap={points.length > 60 ? "8%" : "20%"}
          aria-label={t.trend.title(t.metric[metric])}
        >
          <defs>
            <pattern
              id={stripes}
              width="6"
              height="6"
              patternUnits="userSpaceOnUse"
              patternTransform="rotate(45)"
            >
              <rect width="6" height="6" className="stripes-ground" />
              <rect width="3" height="6" className="stripes" />
            </pattern>
          </defs>
          <CartesianGrid vertical={false} />
          <XAxis dataKey="name" tick={TICK} tickLine={false} minTickGap={24} interval="preserveStartEnd" />
          <YAxis
            width="auto"
            tick={TICK}
            tickFormatter={tick}
            tickLine={false}
            axisLine={false}
            tickCount={4}
          />
          <Tooltip
            cursor={{ className: "cursor" }}
            isAnimationActive={false}
            content={({ active, payload }) => {
              const point = payload?.[0]?.payload as Point | undefined;
              return active && point ? <Tip point={point} metric={metric} /> : null;
            }}
          />
          {parts.map((part, at) => (
            <Bar
              key={part}
              dataKey={(point: Point) => point.heights[at]}
              stackId="parts"
              isAnimationActive={false}
              shape={(shape: {
                x?: number;
                y?: number;
                width?: number;
                height?: number;
                payload?: Point;
              }) => (
                <rect
                  x={shape.x}
                  y={shape.y}
                  width={shape.width}
                  height={Math.max(shape.height ?? 0, 0)}
                  className={`part ${part} ${shape.payload && isUnfinished(shape.payload.bucket) ? "unfinished" : ""}`}
                  {...(part === "output" ? { fill: `url(#${stripes})` } : {})}
                />
              )}
            />
          ))}
        </BarChart>
      </ResponsiveContainer>
      <p id={help} className="hidden">
        {t.trend.help}
      </p>
    </div>
  );
}

/** The scale of a chart is no bill: doubles will do for its ticks. */
function shortMoney(value: number, currency: string, locale: string): string {
  if (value !== 0 && Math.abs(value) < 1) {
    return formatMoney(value.toFixed(9), currency, locale);
  }
  return new Intl.NumberFormat(locale, {
    style: "currency",
    currency,
    currencyDisplay: "narrowSymbol",
    notation: "compact",
    maximumFractionDigits: 1,
  }).format(value);
}

function Tip({ point, metric }: { point: Point; metric: Metric }) {
  const { t, locale } = useLocale();
  const { count } = useFigures();
  const { totals, start, end } = point.bucket;
  return (
    <div className="tip">
      <strong>{point.name}</strong>
      {start !== end && <span className="muted"> {formatRange(start, end, locale)}</span>}
      <dl>
        {metric === "tokens" && (
          <>
            <dt className="key input">{t.trend.input}</dt>
            <dd>{count(totals.inputTokens)}</dd>
            <dt className="key output">{t.trend.output}</dt>
            <dd>{count(totals.outputTokens)}</dd>
          </>
        )}
        <dt>{t.metric[metric]}</dt>
        <dd>
          <Figure totals={totals} metric={metric} />
        </dd>
      </dl>
      {isUnfinished(point.bucket) && <State bucket={point.bucket} />}
    </div>
  );
}

/** Whether a bucket is whole, in words. */
function State({ bucket }: { bucket: Period }) {
  const { t } = useLocale();
  const said = [bucket.partial && t.trend.partial, !bucket.complete && t.trend.open].filter(Boolean);
  return <span>{said.length === 0 ? t.trend.whole : said.join(", ")}</span>;
}

interface NumbersProps {
  buckets: Bucket[];
  whole: Totals;
  metric: Metric;
  nameOf: (bucket: Bucket) => string;
}

function Numbers({ buckets, whole, metric, nameOf }: NumbersProps) {
  const { t } = useLocale();
  const { count } = useFigures();
  const hasParts = metric === "tokens";
  const cells = (totals: Totals) => (
    <>
      {hasParts && <td className="number">{count(totals.inputTokens)}</td>}
      {hasParts && <td className="number">{count(totals.outputTokens)}</td>}
      <td className="number">
        <Figure totals={totals} metric={metric} />
      </td>
    </>
  );
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reachable without a mouse
    <section className="scroll numbers" tabIndex={0} aria-label={t.table.scroll(t.metric[metric])}>
      <table>
        <thead>
          <tr>
            <th scope="col">{t.trend.period}</th>
            {hasParts && <th scope="col">{t.trend.input}</th>}
            {hasParts && <th scope="col">{t.trend.output}</th>}
            <th scope="col">{t.metric[metric]}</th>
            <th scope="col">{t.trend.state}</th>
          </tr>
        </thead>
        <tbody>
          {buckets.map((bucket) => (
            <tr key={bucket.periodKey}>
              <th scope="row">{nameOf(bucket)}</th>
              {cells(bucket.totals)}
              <td>
                <State bucket={bucket} />
              </td>
            </tr>
          ))}
        </tbody>
        <tfoot>
          <tr>
            <th scope="row">{t.trend.total}</th>
            {cells(whole)}
            <td />
          </tr>
        </tfoot>
      </table>
    </section>
  );
}
