// Collects figures and prints them as a table, or as one JSON object a line.

export interface Figure {
  metric: string
  unit: string
  ours: number
  peer?: number
  peerName?: string
  budget?: string
}

const figures: Figure[] = []

export function report(figure: Figure): void {
  figures.push(figure)
}

const round = (n: number) => (n >= 100 ? n.toFixed(0) : n >= 10 ? n.toFixed(1) : n.toFixed(2))

export function finish(bench: string, json: boolean): void {
  for (const f of figures) {
    const ratio = f.peer ? f.ours / f.peer : undefined
    if (json)
      process.stdout.write(
        `${JSON.stringify({ bench, metric: f.metric, unit: f.unit, ours: f.ours, peer: f.peer ?? null, peerName: f.peerName ?? null, ratio: ratio ?? null })}\n`,
      )
    else {
      const peer = f.peer === undefined ? '' : `${f.peerName} ${round(f.peer)}, ratio ${round(ratio!)}`
      process.stdout.write(
        `${f.metric.padEnd(52)} ${round(f.ours).padStart(8)} ${f.unit.padEnd(10)} ${peer}${f.budget ? `  (budget ${f.budget})` : ''}\n`,
      )
    }
  }
}

export const median = (values: number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!
