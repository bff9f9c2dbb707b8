// The images that come with Sampan, built at set-up from this machine's own files.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createLayer, type ImageSpec, type Layer, type LayerEntry, realTarget, writeArchive } from './image-archive.ts'
import { pauseProgram } from './pause-program.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
export const IMAGE_DIR = join(ROOT, 'dist', 'images')
export const ARCHIVE = join(IMAGE_DIR, 'bundled.tar')

export const PAUSE_IMAGE = 'sampan.local/pause:1'
export const PROXY_IMAGE = 'sampan.local/proxyv2:1'

/** Names of all bundled images, as manifests write them. */
const NAMES = ['oliwave/kubia:v1', 'oliwave/kubia:v2', 'crossoverjie/k8s-combat:v1', PROXY_IMAGE, PAUSE_IMAGE] as const

/** True for an image that comes with the program; "docker.io/" may be written or not. */
export function isBundled(image: string): boolean {
  return (NAMES as readonly string[]).includes(image.replace(/^docker\.io\//, ''))
}

/** A program of this machine with the libraries it needs, at the same paths. */
function program(path: string): LayerEntry[] {
  const real = realTarget(path)
  const entries: LayerEntry[] = [{ path: real, from: real }]
  if (real !== path) entries.push({ path, link: real })
  return [...entries, ...libraries(real)]
}

/** Shared libraries of a program or library, and the loader. */
function libraries(path: string): LayerEntry[] {
  let listing: string
  try {
    listing = execFileSync('ldd', [path], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
  } catch {
    return []
  }
  const paths = [...listing.matchAll(/(?:=>\s*)?(\/\S+)\s+\(0x/g)].map((m) => m[1]!)
  return paths.map((p) => ({ path: p, from: realTarget(p), mode: 0o755 }))
}

/** Entries without repetition; the first of a path stays. */
function unique(entries: readonly LayerEntry[]): LayerEntry[] {
  const seen = new Set<string>()
  return entries.filter((e) => !seen.has(e.path) && seen.add(e.path))
}

/** Debian 12 keeps /bin and /lib as links into /usr; the images do too. */
const USR_MERGE: LayerEntry[] = ['bin', 'sbin', 'lib', 'lib64'].map((d) => ({ path: d, link: `usr/${d}` }))

function merged(entries: readonly LayerEntry[]): LayerEntry[] {
  return entries.map((e) => ({ ...e, path: e.path.replace(/^\/?(bin|sbin|lib|lib64)\//, '/usr/$1/') }))
}

const BUSYBOX = ['/bin/busybox', '/usr/bin/busybox']

function baseLayer(): Layer {
  const busybox = BUSYBOX.find(existsSync) ?? '/bin/busybox'
  const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n')
  const own = new Set(['busybox', 'curl', 'node', 'nft'])
  const entries: LayerEntry[] = [
    ...USR_MERGE,
    {
      path: 'etc/passwd',
      data: 'root:x:0:0:root:/root:/bin/sh\nistio-proxy:x:1337:1337::/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n',
    },
    { path: 'etc/group', data: 'root:x:0:\nistio-proxy:x:1337:\nnogroup:x:65534:\n' },
    { path: 'etc/nsswitch.conf', data: 'hosts: files dns\n' },
    { path: 'tmp', directory: true, mode: 0o1777 },
    { path: 'root', directory: true, mode: 0o700 },
    { path: 'var/run', directory: true },
    { path: 'usr/bin/busybox', from: busybox, mode: 0o755 },
    ...applets.filter((a) => !own.has(a)).map((a): LayerEntry => ({ path: `usr/bin/${a}`, link: 'busybox' })),
    ...merged(program('/usr/bin/curl')),
    ...merged(['libnss_dns.so.2', 'libnss_files.so.2', 'libresolv.so.2'].flatMap((n) => libraryOf(n))),
    ...(existsSync('/etc/ssl/certs/ca-certificates.crt')
      ? [{ path: 'etc/ssl/certs/ca-certificates.crt', from: '/etc/ssl/certs/ca-certificates.crt' }]
      : []),
  ]
  return createLayer(unique(entries))
}

function libraryOf(name: string): LayerEntry[] {
  for (const d of [
    '/lib/x86_64-linux-gnu',
    '/lib/aarch64-linux-gnu',
    '/usr/lib/x86_64-linux-gnu',
    '/usr/lib/aarch64-linux-gnu',
  ])
    if (existsSync(join(d, name))) return [{ path: join(d, name), from: realTarget(join(d, name)), mode: 0o755 }]
  return []
}

function nodeLayer(): Layer {
  return createLayer(
    unique([{ path: 'usr/bin/node', from: process.execPath, mode: 0o755 }, ...merged(libraries(process.execPath))]),
  )
}

/** The data plane bundled into one file. */
async function bundleProxy(): Promise<string> {
  const { build } = await import('esbuild')
  const result = await build({
    entryPoints: [join(ROOT, 'src/proxy/main.ts')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    write: false,
    minify: true,
    external: ['koffi'],
    banner: { js: 'import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);' },
  })
  return result.outputFiles[0]!.text
}

/** koffi with the native module of this platform only. */
function koffiEntries(): LayerEntry[] {
  const base = join(ROOT, 'node_modules/koffi')
  const entries: LayerEntry[] = []
  const walk = (relative: string) => {
    for (const entry of readdirSync(join(base, relative), { withFileTypes: true })) {
      const path = relative ? `${relative}/${entry.name}` : entry.name
      if (/^(doc|vendor)\b/.test(path)) continue
      if (entry.isDirectory()) walk(path)
      else if (/\.(c?js|mjs|node|json)$/.test(entry.name))
        entries.push({ path: `opt/sampan/node_modules/koffi/${path}`, from: join(base, path), mode: 0o644 })
    }
  }
  walk('')
  const native = join(ROOT, 'node_modules/@koromix')
  if (existsSync(native))
    for (const name of readdirSync(native))
      if (name.includes(process.platform) && name.includes(process.arch))
        for (const file of readdirSync(join(native, name), { recursive: true, withFileTypes: true }))
          if (file.isFile())
            entries.push({
              path: `opt/sampan/node_modules/@koromix/${join(file.parentPath, file.name).slice(native.length + 1)}`,
              from: join(file.parentPath, file.name),
              mode: 0o644,
            })
  return entries
}

async function proxyLayer(): Promise<Layer> {
  const source = (name: string) => readFileSync(join(ROOT, 'src/proxy/image', name), 'utf8')
  return createLayer(
    unique([
      { path: 'usr/local/bin/pilot-agent', data: source('pilot-agent.sh'), mode: 0o755 },
      { path: 'opt/sampan/proxy.mjs', data: await bundleProxy() },
      ...koffiEntries(),
      ...merged(program('/usr/sbin/nft')),
    ]),
  )
}

function exampleLayer(name: string): Layer {
  return createLayer([{ path: 'app/server.mjs', from: join(ROOT, 'examples', name, 'server.mjs') }])
}

/** What the images are made of, so that they are made again only when something changed. */
function fingerprint(): string {
  const hash = createHash('sha256')
  const add = (path: string) => {
    if (!existsSync(path)) return
    if (statSync(path).isDirectory()) for (const f of readdirSync(path).sort()) add(join(path, f))
    else hash.update(path).update(readFileSync(path))
  }
  for (const path of [
    'src/proxy',
    'src/wire',
    'src/base',
    'src/api/xds',
    'examples',
    'src/app/bundled-images.ts',
    'src/app/image-archive.ts',
    'node_modules/koffi/package.json',
  ])
    add(join(ROOT, path))
  for (const file of [process.execPath, '/usr/sbin/nft', '/usr/bin/curl'])
    if (existsSync(file)) hash.update(`${file}${statSync(file).size}${statSync(file).mtimeMs}`)
  return hash.digest('hex')
}

/** Builds the archive of bundled images unless it is there and current. Returns whether it was built. */
export async function buildBundledImages(): Promise<boolean> {
  mkdirSync(IMAGE_DIR, { recursive: true })
  const stamp = join(IMAGE_DIR, 'fingerprint')
  const current = fingerprint()
  if (existsSync(ARCHIVE) && existsSync(stamp) && readFileSync(stamp, 'utf8') === current) return false
  const base = baseLayer()
  const node = nodeLayer()
  const kubia = exampleLayer('kubia')
  const runs = ['/usr/bin/node', '/app/server.mjs']
  const images: ImageSpec[] = [
    {
      names: [PAUSE_IMAGE],
      layers: [createLayer([{ path: 'pause', data: pauseProgram(process.arch), mode: 0o755 }])],
      entrypoint: ['/pause'],
    },
    {
      names: ['oliwave/kubia:v1'],
      layers: [base, node, kubia],
      entrypoint: runs,
      env: ['KUBIA_VERSION=v1'],
      ports: ['8080/tcp'],
    },
    {
      names: ['oliwave/kubia:v2'],
      layers: [base, node, kubia],
      entrypoint: runs,
      env: ['KUBIA_VERSION=v2'],
      ports: ['8080/tcp'],
    },
    {
      names: ['crossoverjie/k8s-combat:v1'],
      layers: [base, node, exampleLayer('k8s-combat')],
      entrypoint: runs,
      ports: ['8081/tcp', '50051/tcp'],
    },
    { names: [PROXY_IMAGE], layers: [base, node, await proxyLayer()], entrypoint: ['/usr/local/bin/pilot-agent'] },
  ]
  writeArchive(`${ARCHIVE}.tmp`, images)
  renameSync(`${ARCHIVE}.tmp`, ARCHIVE)
  writeFileSync(stamp, current)
  return true
}

/** The digest of the archive: clusters import it again when it changes. */
export function archiveId(): string {
  return readFileSync(join(IMAGE_DIR, 'fingerprint'), 'utf8')
}
