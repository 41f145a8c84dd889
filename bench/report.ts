/** Of one scenario: milliseconds from the change to the answer that shows it, those of them spent in the core, and bytes sent for each. */
export type Samples = { readonly total: readonly number[]; readonly core: readonly number[]; readonly bytes: number };

export function percentile(samples: readonly number[], percent: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * percent) / 100))] ?? Number.NaN;
}

export function print(hosts: number, name: string, { total, core, bytes }: Samples): void {
  const figures = [50, 99].map((percent) => percentile(total, percent).toFixed(2).padStart(8));
  const inCore = percentile(core, 50).toFixed(2).padStart(8);
  console.log(
    `${pad(hosts)}  ${name.padEnd(28)} p50 ${figures[0]}  p99 ${figures[1]}  of it apply ${inCore}  bytes ${bytes.toFixed(0)}`,
  );
}

export function pad(hosts: number): string {
  return `${hosts} hosts`.padStart(13);
}
