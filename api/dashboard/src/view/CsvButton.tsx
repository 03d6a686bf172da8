import { useState } from "react";
import { askCsv, patiently } from "../client/ask";
import type { Name, Questions } from "../client/types";
import { useLocale } from "../i18n/locale";
import { useSession } from "../session/session";

interface Props<N extends Name> {
  name: N;
  query: Questions[N]["query"];
  title: string;
  file: string;
}

/** Saves the answer to a question as CSV, whole. A link could not carry the token. */
export function CsvButton<N extends Name>({ name, query, title, file }: Props<N>) {
  const { t } = useLocale();
  const { token } = useSession();
  const [state, setState] = useState<"idle" | "busy" | "failed">("idle");
  const save = async () => {
    setState("busy");
    try {
      const url = URL.createObjectURL(await patiently(() => askCsv(name, query, token)));
      const link = document.createElement("a");
      link.href = url;
      link.download = `${file.replace(/[^\p{L}\p{N}._-]+/gu, "_")}.csv`;
      link.click();
      URL.revokeObjectURL(url);
      setState("idle");
    } catch {
      // Whatever it was: nothing was saved, and that is what is said.
      setState("failed");
    }
  };
  return (
    <span className="csv">
      {state === "failed" && (
        <span role="alert" className="wrong">
          {t.table.csvFailed}
        </span>
      )}
      <button
        type="button"
        aria-label={t.table.csvOf(title)}
        aria-disabled={state === "busy"}
        onClick={() => state !== "busy" && void save()}
      >
        <span aria-hidden="true">↓</span> {state === "busy" ? t.loading : t.table.csv}
      </button>
    </span>
  );
}
