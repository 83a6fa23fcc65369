// A line of values as small as a word.

import type { Rates } from "../api/rates";

const WIDTH = 54;
const HEIGHT = 18;

export function Sparkline({ line }: { line: Rates }) {
  const { values } = line;
  const top = Math.max(...values, 0);
  if (values.length < 2 || top === 0) return <svg class="sparkline" width={WIDTH} height={HEIGHT} aria-hidden="true" />;
  const x = (i: number) => ((i * WIDTH) / (values.length - 1)).toFixed(1);
  const y = (value: number) => (HEIGHT - 1.5 - (value / top) * (HEIGHT - 3)).toFixed(1);
  const path = values.map((value, i) => `${i === 0 ? "M" : "L"}${x(i)} ${y(value)}`).join("");
  return (
    <svg class="sparkline" width={WIDTH} height={HEIGHT} viewBox={`0 0 ${WIDTH} ${HEIGHT}`} aria-hidden="true">
      <path class="sparkline-area" d={`${path}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`} />
      <path class="sparkline-line" d={path} />
    </svg>
  );
}
