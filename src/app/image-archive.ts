// Writes container images as a docker archive: what `docker save` writes and `ctr images import` reads.

import { createHash } from 'node:crypto'
import { closeSync, lstatSync, openSync, readFileSync, readlinkSync, writeSync } from 'node:fs'

/** A file of a layer: contents, a file of this machine, a symlink, or a folder. */
export type LayerEntry =
  | { path: string; data: string | Uint8Array; mode?: number }
  | { path: string; from: string; mode?: number }
  | { path: string; link: string }
  | { path: string; directory: true; mode?: number }

export interface ImageSpec {
  names: readonly string[]
  layers: readonly Layer[]
  entrypoint?: readonly string[]
  command?: readonly string[]
  env?: readonly string[]
  workingDir?: string
  user?: string
  ports?: readonly string[]
}

/** A layer as a tar archive, named by the digest of its bytes. */
export interface Layer {
  readonly digest: string
  readonly tar: Buffer
}

const BLOCK = 512

/** One tar header (POSIX ustar). */
function header(path: string, type: '0' | '2' | '5', mode: number, size: number, link = ''): Buffer {
  const block = Buffer.alloc(BLOCK)
  const slash = path.length > 100 ? path.lastIndexOf('/', 155) : -1
  block.write(slash < 0 ? path : path.slice(slash + 1), 0, 100)
  if (slash > 0) block.write(path.slice(0, slash), 345, 155)
  const octal = (value: number, at: number, length: number) =>
    block.write(value.toString(8).padStart(length - 1, '0'), at, length - 1)
  octal(mode, 100, 8)
  octal(0, 108, 8)
  octal(0, 116, 8)
  octal(size, 124, 12)
  octal(0, 136, 12)
  block.write('        ', 148, 8)
  block.write(type, 156, 1)
  block.write(link, 157, 100)
  block.write('ustar\x0000', 257, 8, 'latin1')
  let sum = 0
  for (const byte of block) sum += byte
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 8, 'latin1')
  return block
}

const padding = (size: number) => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK)

/** Packs entries into a layer. Times are zero, so that the same files give the same digest. */
export function createLayer(entries: readonly LayerEntry[]): Layer {
  const parts: Buffer[] = []
  const folders = new Set<string>()
  const parents = (path: string) => {
    const steps = path.split('/').slice(0, -1)
    for (let i = 1; i <= steps.length; i++) {
      const folder = steps.slice(0, i).join('/')
      if (!folder || folders.has(folder)) continue
      folders.add(folder)
      parts.push(header(`${folder}/`, '5', 0o755, 0))
    }
  }
  for (const entry of entries) {
    const path = entry.path.replace(/^\//, '')
    parents(path)
    if ('directory' in entry) {
      folders.add(path)
      parts.push(header(`${path}/`, '5', entry.mode ?? 0o755, 0))
    } else if ('link' in entry) parts.push(header(path, '2', 0o777, 0, entry.link))
    else {
      const data = Buffer.from('from' in entry ? readFileSync(entry.from) : entry.data)
      const mode = entry.mode ?? ('from' in entry ? lstatSync(entry.from).mode & 0o777 : 0o644)
      parts.push(header(path, '0', mode, data.length), data, padding(data.length))
    }
  }
  parts.push(Buffer.alloc(BLOCK * 2))
  const tar = Buffer.concat(parts)
  return { tar, digest: createHash('sha256').update(tar).digest('hex') }
}

/** Writes images into one archive; layers they share are written once. */
export function writeArchive(file: string, images: readonly ImageSpec[]): void {
  const out = openSync(file, 'w', 0o644)
  try {
    const put = (path: string, data: Buffer) => {
      writeSync(out, header(path, '0', 0o644, data.length))
      writeSync(out, data)
      writeSync(out, padding(data.length))
    }
    const written = new Set<string>()
    const manifest = images.map((image) => {
      for (const layer of image.layers) {
        if (written.has(layer.digest)) continue
        written.add(layer.digest)
        put(`${layer.digest}.tar`, layer.tar)
      }
      const config = Buffer.from(JSON.stringify(imageConfig(image)))
      const name = `${createHash('sha256').update(config).digest('hex')}.json`
      put(name, config)
      return { Config: name, RepoTags: image.names, Layers: image.layers.map((l) => `${l.digest}.tar`) }
    })
    put('manifest.json', Buffer.from(JSON.stringify(manifest)))
    writeSync(out, Buffer.alloc(BLOCK * 2))
  } finally {
    closeSync(out)
  }
}

function imageConfig(image: ImageSpec): object {
  return {
    architecture: process.arch === 'x64' ? 'amd64' : process.arch,
    os: 'linux',
    created: '1970-01-01T00:00:00Z',
    config: {
      ...(image.entrypoint ? { Entrypoint: image.entrypoint } : {}),
      ...(image.command ? { Cmd: image.command } : {}),
      Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ...(image.env ?? [])],
      WorkingDir: image.workingDir ?? '/',
      ...(image.user ? { User: image.user } : {}),
      ...(image.ports ? { ExposedPorts: Object.fromEntries(image.ports.map((p) => [p, {}])) } : {}),
    },
    rootfs: { type: 'layers', diff_ids: image.layers.map((l) => `sha256:${l.digest}`) },
    history: image.layers.map(() => ({ created: '1970-01-01T00:00:00Z', created_by: 'sampan' })),
  }
}

/** The target of a symlink on this machine, or the path itself. */
export function realTarget(path: string): string {
  let at = path
  while (lstatSync(at).isSymbolicLink()) {
    const target = readlinkSync(at)
    at = target.startsWith('/') ? target : `${at.slice(0, at.lastIndexOf('/'))}/${target}`
  }
  return at
}
