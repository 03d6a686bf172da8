import { Failure, Loading } from "../parts/states";

interface Props {
  error: Error | null;
  retry: () => void;
}

/** Until it is known who may look. */
export function Pending({ error, retry }: Props) {
  return (
    <main className="sign-in">{error ? <Failure error={error} retry={retry} /> : <Loading lines={3} />}</main>
  );
}
