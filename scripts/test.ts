// Runs the tests: all of them, or "unit" for those that need no machine of their own.

import { spawnSync } from 'node:child_process'
import { globSync } from 'node:fs'

const unit = process.argv[2] === 'unit'
const files = [...globSync('src/**/*.test.ts'), ...globSync('test/{conformance,integration,fuzz}/**/*.test.ts')].sort()
const real = globSync('test/e2e/**/*.test.ts').sort()
const run = (list: string[], concurrency: number, ...more: string[]) =>
  spawnSync(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', '--test', `--test-concurrency=${concurrency}`, ...more, ...list],
    { stdio: 'inherit' },
  ).status ?? 1

// Clusters run one after the other: they share the machine's two cores.
let status = run(files, 2)
// Other people's clients leave connections open; a test that is over is over.
if (!unit && status === 0) status = run(real, 1, '--test-force-exit')
process.exit(status)
