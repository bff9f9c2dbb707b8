// Writes a volume's files so that readers see all of the old or all of the new: a folder swapped by a symlink.

import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'

export interface VolumeFile {
  data: Uint8Array
  mode: number
}

const DATA = '..data'

/** Makes `directory` hold exactly `files` (by relative path). Returns whether anything changed. */
export function writeAtomically(directory: string, files: ReadonlyMap<string, VolumeFile>, stamp: string): boolean {
  mkdirSync(directory, { recursive: true })
  if (same(directory, files)) return false
  const version = `..${stamp.replace(/\W/g, '_')}.${process.hrtime.bigint() % 1_000_000_000n}`
  const target = join(directory, version)
  mkdirSync(target, { mode: 0o755 })
  for (const [path, file] of files) {
    const full = join(target, path)
    mkdirSync(dirname(full), { recursive: true })
    writeFileSync(full, file.data)
    chmodSync(full, file.mode)
  }
  const old = existsSync(join(directory, DATA)) ? readlinkSync(join(directory, DATA)) : undefined
  symlinkSync(version, join(directory, `${DATA}_tmp`))
  renameSync(join(directory, `${DATA}_tmp`), join(directory, DATA))
  const top = new Set([...files.keys()].map((path) => path.split('/')[0]!))
  for (const name of top) if (!linked(join(directory, name))) symlinkSync(join(DATA, name), join(directory, name))
  for (const name of readdirSync(directory))
    if (!name.startsWith('..') && !top.has(name)) rmSync(join(directory, name), { recursive: true, force: true })
  if (old) rmSync(join(directory, old), { recursive: true, force: true })
  return true
}

function linked(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink()
  } catch {
    return false
  }
}

function same(directory: string, files: ReadonlyMap<string, VolumeFile>): boolean {
  const root = join(directory, DATA)
  if (!existsSync(root)) return false
  const present = new Set<string>()
  const walk = (path: string) => {
    for (const entry of readdirSync(join(root, path), { withFileTypes: true })) {
      const name = path ? `${path}/${entry.name}` : entry.name
      if (entry.isDirectory()) walk(name)
      else present.add(name)
    }
  }
  walk('')
  if (present.size !== files.size) return false
  for (const [path, file] of files) {
    if (!present.has(path)) return false
    const full = join(root, path)
    if ((lstatSync(full).mode & 0o7777) !== file.mode || !readFileSync(full).equals(file.data)) return false
  }
  return true
}
