import { Counter, Gauge, type Registry } from "prom-client";

/** One number with the labels that it is about. */
export type Sample = readonly [labels: Readonly<Record<string, string>>, value: number];

/** One metric as a scrape sees it: all of it is computed from what is observed. */
export interface MetricFamily<Observed> {
  readonly name: string;
  readonly help: string;
  /** A counter's name ends with `_total`. */
  readonly type: "gauge" | "counter";
  readonly labels: readonly string[];
  /** All samples; one that was there before and is not any more is gone. */
  readonly samples: (observed: Observed) => Iterable<Sample>;
}

/** @param observe called at each scrape */
export function registerFamily<Observed>(registry: Registry, family: MetricFamily<Observed>, observe: () => Observed): void {
  const { name, help, labels, samples } = family;
  const options = { name, help, labelNames: labels, registers: [registry] };
  if (family.type === "counter") {
    const counter = new Counter({
      ...options,
      collect() {
        counter.reset();
        for (const [of, value] of samples(observe())) counter.inc({ ...of }, value);
      },
    });
  } else {
    const gauge = new Gauge({
      ...options,
      collect() {
        gauge.reset();
        for (const [of, value] of samples(observe())) gauge.set({ ...of }, value);
      },
    });
  }
}
