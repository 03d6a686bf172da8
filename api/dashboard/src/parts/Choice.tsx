interface Props<T extends string> {
  label: string;
  options: readonly (readonly [id: T, name: string])[];
  chosen: T | null;
  choose: (id: T) => void;
}

/** One of a few, all of them to be seen. */
export function Choice<T extends string>({ label, options, chosen, choose }: Props<T>) {
  return (
    <fieldset className="choice">
      <legend className="hidden">{label}</legend>
      {options.map(([id, name]) => (
        <button key={id} type="button" aria-pressed={id === chosen} onClick={() => choose(id)}>
          {name}
        </button>
      ))}
    </fieldset>
  );
}
