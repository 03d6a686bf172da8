import { useAddress } from "../address/useAddress";
import { questions, useAnswer } from "../client/questions";
import { useLocale } from "../i18n/locale";
import { Read } from "../parts/states";
import { CsvButton } from "./CsvButton";
import { PeriodTable } from "./PeriodTable";

/** The assistants of one organization, period by period. */
export function AgentsTable({ organization }: { organization: string }) {
  const { t } = useLocale();
  const [address] = useAddress();
  const query = questions.agents(organization, address);
  const table = useAnswer("table", query);
  return (
    <section className="card" aria-labelledby="table">
      <div className="title">
        <h2 id="table">{t.table.agents}</h2>
        <CsvButton name="table" query={query} title={t.table.agents} file={`${organization}-assistants`} />
      </div>
      <Read query={table} lines={8}>
        {(data) =>
          data.rows.length === 0 ? (
            <p className="muted">{t.empty.rows}</p>
          ) : (
            <PeriodTable data={data} title={t.table.agents} />
          )
        }
      </Read>
    </section>
  );
}
