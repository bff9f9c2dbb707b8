// The seed of a run's random tests: printed, and taken from SEED to run the same again.

/** Settings for fast-check; `runs` may be raised with RUNS. */
export function randomRuns(runs: number): { seed: number; numRuns: number } {
  const seed = Number(process.env.SEED ?? Date.now() % 2 ** 31)
  process.stdout.write(`SEED=${seed}\n`)
  return { seed, numRuns: Number(process.env.RUNS ?? runs) }
}
