// The command line.

import { enableCompileCache } from 'node:module'

enableCompileCache()
// A reader that has seen enough ("| head") is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0)
  throw error
})
const { run } = await import('./cli.ts')
await run(process.argv)
