// Refuses imports that go up or sideways: the table of the architecture, checked.

import { globSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'

/** Which rooms a room may import. */
const MAY: Record<string, readonly string[]> = {
  base: [],
  api: ['base'],
  'api/xds': ['base', 'wire'],
  wire: ['base'],
  store: ['base'],
  'store/etcd': ['base', 'store', 'wire'],
  apiserver: ['base', 'base/re2', 'api', 'store', 'wire'],
  client: ['base', 'api', 'wire'],
  controllers: ['base', 'api', 'client'],
  scheduler: ['base', 'api', 'client'],
  release: ['base', 'api', 'client'],
  node: ['base', 'api', 'client', 'wire'],
  netproxy: ['base', 'api', 'client', 'wire'],
  dns: ['base', 'api', 'client', 'wire'],
  mesh: ['base', 'base/re2', 'api', 'api/xds', 'client', 'wire'],
  proxy: ['base', 'base/re2', 'api/xds', 'wire'],
}

/** Rooms within rooms, for what only some of a room's users need. */
const INNER = ['api/xds', 'store/etcd']
const roomOf = (path: string) => INNER.find((room) => path.startsWith(`src/${room}/`)) ?? path.split('/')[1]!
const problems: string[] = []
for (const file of globSync('src/**/*.ts')) {
  const room = roomOf(file)
  if (room === 'app' || file.endsWith('.test.ts')) continue
  const source = readFileSync(file, 'utf8')
  for (const [, target = ''] of source.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)) {
    if (target.startsWith('#')) {
      const other = target.slice(1)
      if (!MAY[room]?.includes(other)) problems.push(`${file}: ${room} may not import ${target}`)
    } else if (target.startsWith('.')) {
      const path = normalize(join(dirname(file), target))
      // What is generated at install belongs to whom it was made for.
      if (!path.startsWith('generated/') && roomOf(path) !== room)
        problems.push(`${file}: ${target} leaves the room; import #${roomOf(path)}`)
    }
  }
  if (/\bprocess\.(env|exit|exitCode)\b/.test(source) && file !== 'src/proxy/main.ts')
    problems.push(`${file}: only app reads the environment and exits`)
}
for (const p of problems) process.stderr.write(`${p}\n`)
if (problems.length > 0) process.exit(1)
process.stderr.write('imports: ok\n')
