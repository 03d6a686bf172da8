import { type FormEvent, useId, useState } from "react";
import { PRESETS, type Preset, type Span } from "../address/address";
import { useAddress } from "../address/useAddress";
import { useLocale } from "../i18n/locale";
import { Choice } from "../parts/Choice";

/** The days that are shown: a preset, or any two. */
export function SpanChoice() {
  const { t } = useLocale();
  const [{ span }, go] = useAddress();
  const [isOpen, setOpen] = useState(false);
  const isCustom = !("preset" in span);
  const options = [...PRESETS.map((id) => [id, t.range[id]] as const), ["custom", t.range.custom] as const];
  return (
    <div className="span-choice">
      <Choice<Preset | "custom">
        label={t.range.label}
        options={options}
        chosen={isCustom || isOpen ? "custom" : span.preset}
        choose={(id) => {
          setOpen(id === "custom");
          if (id !== "custom") {
            go({ span: { preset: id } });
          }
        }}
      />
      {(isCustom || isOpen) && (
        <Custom
          key={JSON.stringify(span)}
          span={span}
          apply={(chosen) => {
            setOpen(false);
            go({ span: chosen });
          }}
        />
      )}
    </div>
  );
}

function Custom({ span, apply }: { span: Span; apply: (span: Span) => void }) {
  const { t } = useLocale();
  const [from, setFrom] = useState("from" in span ? span.from : "");
  const [to, setTo] = useState("to" in span ? span.to : "");
  const [wrong, setWrong] = useState(false);
  const id = useId();
  const submit = (event: FormEvent) => {
    event.preventDefault();
    setWrong(from > to);
    if (from <= to) {
      apply({ from, to });
    }
  };
  const limits = { min: "1970-01-01", max: "2199-12-31", required: true, "aria-invalid": wrong };
  return (
    <form className="custom" onSubmit={submit}>
      <label>
        {t.range.from}{" "}
        <input type="date" value={from} onChange={(event) => setFrom(event.target.value)} {...limits} />
      </label>
      <label>
        {t.range.to}{" "}
        <input
          type="date"
          value={to}
          onChange={(event) => setTo(event.target.value)}
          aria-describedby={wrong ? id : undefined}
          {...limits}
        />
      </label>
      <button type="submit" className="primary">
        {t.range.apply}
      </button>
      {wrong && (
        <span id={id} role="alert" className="wrong">
          {t.range.order}
        </span>
      )}
    </form>
  );
}
