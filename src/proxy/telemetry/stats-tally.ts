// What has been counted, as plain values, and what several have counted together.

/** What a proxy has had to do with clients. */
export interface Counters {
  downstreamConnections: number
  downstreamActive: number
  downstreamRequestsActive: number
  /** Those of them that came for this workload. */
  inboundRequestsActive: number
  requests: number
  protocolErrors: number
}

export interface HistogramTally {
  readonly sum: number
  readonly count: number
  readonly buckets: readonly number[]
}

interface SeriesTally {
  readonly labels: string
  readonly grpc: boolean
  readonly requests: number
  readonly requestMessages: number
  readonly responseMessages: number
  readonly duration: HistogramTally
  readonly requestBytes: HistogramTally
  readonly responseBytes: HistogramTally
}

/** Connections between two ends, and bytes. */
export interface TcpSeries {
  readonly labels: string
  opened: number
  closed: number
  sent: number
  received: number
}

/** Counters and series. Survives structured cloning. */
export interface StatsTally {
  readonly counters: Readonly<Counters>
  readonly series: readonly SeriesTally[]
  readonly tcp: readonly Readonly<TcpSeries>[]
}

/** The sum of what is read from each. */
export const total = <T>(all: readonly T[], value: (one: T) => number): number =>
  all.reduce((n, one) => n + value(one), 0)

/** Adds numbers of the same name up. Those that only some have are kept. */
export function addNumbers<K extends string>(all: readonly Readonly<Record<K, number>>[]): Record<K, number> {
  const sums = {} as Record<K, number>
  for (const one of all) for (const name in one) sums[name] = (sums[name] ?? 0) + one[name]
  return sums
}

/** Adds those of the same name up, in the order in which names first come. */
export const addByName = <T>(all: readonly T[], nameOf: (one: T) => string, add: (same: readonly T[]) => T): T[] =>
  [...Map.groupBy(all, nameOf).values()].map(add)

const addHistograms = (all: readonly HistogramTally[]): HistogramTally => ({
  sum: total(all, (h) => h.sum),
  count: total(all, (h) => h.count),
  buckets: all[0]!.buckets.map((_, i) => total(all, (h) => h.buckets[i]!)),
})

const addSeries = (all: readonly SeriesTally[]): SeriesTally => ({
  labels: all[0]!.labels,
  grpc: all[0]!.grpc,
  requests: total(all, (s) => s.requests),
  requestMessages: total(all, (s) => s.requestMessages),
  responseMessages: total(all, (s) => s.responseMessages),
  duration: addHistograms(all.map((s) => s.duration)),
  requestBytes: addHistograms(all.map((s) => s.requestBytes)),
  responseBytes: addHistograms(all.map((s) => s.responseBytes)),
})

const addTcp = (all: readonly Readonly<TcpSeries>[]): TcpSeries => ({
  labels: all[0]!.labels,
  opened: total(all, (s) => s.opened),
  closed: total(all, (s) => s.closed),
  sent: total(all, (s) => s.sent),
  received: total(all, (s) => s.received),
})

/** What several have counted. */
export const addStats = (all: readonly StatsTally[]): StatsTally => ({
  counters: addNumbers<keyof Counters>(all.map((t) => t.counters)),
  series: addByName(
    all.flatMap((t) => t.series),
    (s) => s.labels,
    addSeries,
  ),
  tcp: addByName(
    all.flatMap((t) => t.tcp),
    (s) => s.labels,
    addTcp,
  ),
})
