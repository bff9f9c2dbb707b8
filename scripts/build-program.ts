// Builds the program as one file, dist/app/main.js, unless it is current. bin/sampan runs it as long as no source is newer.

import { mkdirSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundle } from '../src/app/bundle.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const OUT = join(ROOT, 'dist/app/main.js')

const changed = (file: string): number => statSync(file, { throwIfNoEntry: false })?.mtimeMs ?? 0

const sources = readdirSync(join(ROOT, 'src'), { recursive: true, encoding: 'utf8' }).map((f) => join(ROOT, 'src', f))
const newest = Math.max(...[...sources, join(ROOT, 'src'), join(ROOT, 'package-lock.json')].map(changed))
if (newest > changed(OUT)) {
  const begin = Date.now()
  const text = await bundle(join(ROOT, 'src/app/main.ts'), { minify: false })
  mkdirSync(join(ROOT, 'dist/app'), { recursive: true })
  // A program that runs at this moment has read the file before.
  writeFileSync(`${OUT}.new`, text)
  renameSync(`${OUT}.new`, OUT)
  process.stderr.write(`built the program in ${((Date.now() - begin) / 1000).toFixed(1)} s\n`)
}
