// Generates generated/protobuf.json: the field numbers of Kubernetes' messages, out of the descriptors that
// kubectl's program carries (gogo/protobuf keeps each .proto file, compressed, in the binary). Newer kubectls
// carry none: then Debian's package is fetched for its own. Run at install; nothing it writes is committed.

import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inflateRawSync } from 'node:zlib'
import { type Message, message, repeated } from '#wire'

const out = join(dirname(fileURLToPath(import.meta.url)), '..', 'generated')
const target = join(out, 'protobuf.json')

// google/protobuf/descriptor.proto, what is needed of it.
const Field = message('FieldDescriptorProto', {
  name: [1, 'string'],
  number: [3, 'int32'],
  label: [4, 'enum'],
  type: [5, 'enum'],
  type_name: [6, 'string'],
})
const Options = message('MessageOptions', { map_entry: [7, 'bool'] })
const Inner = message('DescriptorProto', { name: [1, 'string'], field: [2, repeated(Field)], options: [7, Options] })
const Type = message('DescriptorProto', {
  name: [1, 'string'],
  field: [2, repeated(Field)],
  nested_type: [3, repeated(Inner)],
  options: [7, Options],
})
const File = message('FileDescriptorProto', {
  name: [1, 'string'],
  package: [2, 'string'],
  message_type: [4, repeated(Type)],
})

const SCALARS: Record<number, string> = {
  1: 'double',
  2: 'float',
  3: 'int64',
  4: 'uint64',
  5: 'int32',
  8: 'bool',
  9: 'string',
  12: 'bytes',
  13: 'uint32',
  14: 'enum',
}
const REPEATED = 3
/** What gzip begins with, and its head of ten bytes when it names nothing. */
const MAGIC = Buffer.from([0x1f, 0x8b, 0x08, 0x00])
const GZIP_HEAD = 10
/** A compressed descriptor is smaller than this. */
const WINDOW = 512 * 1024

/** The .proto files a program carries. */
function descriptorsIn(program: string): Message[] {
  const binary = readFileSync(program)
  const files: Message[] = []
  for (let at = binary.indexOf(MAGIC); at >= 0; at = binary.indexOf(MAGIC, at + 3)) {
    try {
      // One descriptor may follow another at once: only the first is read here.
      const bytes = inflateRawSync(binary.subarray(at + GZIP_HEAD, at + WINDOW))
      if (bytes[0] !== 0x0a || !/^[\w./-]+\.proto$/.test(bytes.toString('latin1', 2, 2 + bytes[1]!))) continue
      files.push(File.decode(bytes))
    } catch {
      // Three bytes that only look like the beginning.
    }
  }
  return files
}

/** "1.20's vendored" and today's names of a package are one: k8s.io.api.core.v1. */
const packageName = (name: string) => name.replace(/^k8s\.io\.kubernetes\.vendor\./, '')

type FieldEntry = [number: number, type: string, shape?: 'many' | 'map']

function tableOf(files: readonly Message[]): Record<string, Record<string, FieldEntry>> {
  const table: Record<string, Record<string, FieldEntry>> = {}
  for (const file of files) {
    const prefix = packageName(file.package ?? '')
    if (!prefix.startsWith('k8s.io.')) continue
    for (const type of (file.message_type ?? []) as Message[]) {
      const maps = new Map<string, Message>()
      for (const inner of (type.nested_type ?? []) as Message[])
        if (inner.options?.map_entry) maps.set(`${file.package}.${type.name}.${inner.name}`, inner)
      const fields: Record<string, FieldEntry> = {}
      for (const f of (type.field ?? []) as Message[]) {
        const full = String(f.type_name ?? '').replace(/^\./, '')
        const map = maps.get(full)
        const typeOf = (x: Message) => SCALARS[x.type] ?? packageName(String(x.type_name ?? '').replace(/^\./, ''))
        if (map) fields[f.name] = [f.number, typeOf((map.field as Message[]).find((x) => x.number === 2)!), 'map']
        else fields[f.name] = f.label === REPEATED ? [f.number, typeOf(f), 'many'] : [f.number, typeOf(f)]
      }
      table[`${prefix}.${type.name}`] = fields
    }
  }
  return table
}

function onPath(program: string): string | undefined {
  for (const folder of (process.env.PATH ?? '').split(':')) {
    const file = join(folder, program)
    if (existsSync(file)) return realpathSync(file)
  }
  return undefined
}

/** kubectl of Debian's package, in a folder of its own. */
function debianKubectl(folder: string): string {
  // Without a sandbox of apt's own: the folder is root's.
  execFileSync('apt-get', ['-q', '-o', 'APT::Sandbox::User=root', 'download', 'kubernetes-client'], {
    cwd: folder,
    stdio: 'ignore',
  })
  const archive = readdirSync(folder).find((f) => f.endsWith('.deb'))
  if (!archive) throw new Error('apt-get download kubernetes-client brought no package')
  execFileSync('dpkg-deb', ['-x', archive, 'root'], { cwd: folder })
  return join(folder, 'root/usr/bin/kubectl')
}

function main(): void {
  const self = fileURLToPath(import.meta.url)
  if (existsSync(target) && statSync(target).mtimeMs > statSync(self).mtimeMs) return
  const kubectl = onPath('kubectl')
  let files = kubectl ? descriptorsIn(kubectl) : []
  if (files.length === 0) {
    const folder = mkdtempSync(join(tmpdir(), 'sampan-kubectl-'))
    try {
      files = descriptorsIn(debianKubectl(folder))
    } finally {
      rmSync(folder, { recursive: true })
    }
  }
  const table = tableOf(files)
  if (!table['k8s.io.api.core.v1.Pod']) throw new Error('no Kubernetes messages were found in kubectl')
  mkdirSync(out, { recursive: true })
  writeFileSync(target, JSON.stringify(table))
  process.stderr.write(`generated ${Object.keys(table).length} protobuf messages\n`)
}

main()
