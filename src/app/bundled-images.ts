// The images that come with Sampan, built at set-up from this machine's own files.

import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bundle } from './bundle.ts'
import { createLayer, type ImageSpec, type Layer, type LayerEntry, realTarget, writeArchive } from './image-archive.ts'
import { pauseProgram } from './pause-program.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
export const IMAGE_DIR = join(ROOT, 'dist', 'images')
export const ARCHIVE = join(IMAGE_DIR, 'bundled.tar')

export const PAUSE_IMAGE = 'sampan.local/pause:1'
export const PROXY_IMAGE = 'sampan.local/proxyv2:1'

const TAGS_OF_BOOKINFO = ['1.20.3', '1.20.2', '1.20.1', '1.19.1', '1.18.0', '1.17.0', '1.16.4', '1.16.2']

/** The names Istio's manifests have used for one of bookinfo's images over the years. */
const bookinfoNames = (part: string) =>
  TAGS_OF_BOOKINFO.flatMap((tag) => [
    `registry.istio.io/release/examples-bookinfo-${part}:${tag}`,
    `docker.io/istio/examples-bookinfo-${part}:${tag}`,
  ])

/** Images that Istio's tasks send requests from: a shell and curl. */
const CURL_NAMES = [
  ...['latest', '8.16.0', '8.11.1', '8.10.1', '8.4.0', '7.88.1'].map((tag) => `curlimages/curl:${tag}`),
  ...['latest', '7.77.0'].map((tag) => `governmentpaas/curl-ssl:${tag}`),
  'pstauffer/curl:latest',
  'tutum/curl:latest',
  'radial/busyboxplus:curl',
]
const tagged = (name: string, ...tags: string[]) => tags.map((tag) => `${name}:${tag}`)

const BUSYBOX_NAMES = ['1', 'latest', '1.28', '1.35', '1.36', '1.37'].map((tag) => `busybox:${tag}`)

/** An image that comes with the program: how manifests call it, what is in it besides the base, how it starts. */
interface BundledImage {
  readonly names: readonly string[]
  /** The program's folder under examples/, packed to /app. */
  readonly example?: string
  /** The script in that folder; server.mjs unless it says otherwise. */
  readonly script?: string
  readonly env?: readonly string[]
  readonly ports?: readonly string[]
  /** Scripts of the folder that are programs in the image, by path. */
  readonly tools?: Readonly<Record<string, string>>
}

const EXAMPLES: readonly BundledImage[] = [
  ...['v1', 'v2'].map((tag) => ({
    names: [`oliwave/kubia:${tag}`],
    example: 'kubia',
    env: [`KUBIA_VERSION=${tag}`],
    ports: ['8080/tcp'],
  })),
  { names: ['crossoverjie/k8s-combat:v1'], example: 'k8s-combat', ports: ['8081/tcp', '50051/tcp'] },
  ...['1.0.0.RELEASE', '1.0.1.RELEASE'].map((tag) => ({
    names: [`spring2go/spring-petclinic:${tag}`],
    example: 'petclinic',
    env: [`PETCLINIC_VERSION=${tag}`],
    ports: ['8080/tcp'],
  })),
  ...['details', 'ratings', 'productpage'].map((part) => ({
    names: bookinfoNames(`${part}-v1`),
    example: 'bookinfo',
    script: `${part}.mjs`,
    env: ['SERVICE_VERSION=v1'],
    ports: ['9080/tcp'],
  })),
  ...[
    ['v1', 'false', ''],
    ['v2', 'true', 'black'],
    ['v3', 'true', 'red'],
  ].map(([version, stars, color]) => ({
    names: bookinfoNames(`reviews-${version}`),
    example: 'bookinfo',
    script: 'reviews.mjs',
    env: [`SERVICE_VERSION=${version}`, `ENABLE_RATINGS=${stars}`, ...(color ? [`STAR_COLOR=${color}`] : [])],
    ports: ['9080/tcp'],
  })),
]

/** What Istio's tasks on traffic are shown with. */
const ISTIO_EXAMPLES: readonly BundledImage[] = [
  {
    names: tagged('mccutchen/go-httpbin', 'latest', 'v2.15.0', 'v2.14.0', '2.15.0', 'v2.13.4'),
    example: 'httpbin',
    env: ['FLAVOUR=go'],
    ports: ['8080/tcp'],
  },
  {
    names: [
      ...tagged('kong/httpbin', 'latest', '0.1.0'),
      ...tagged('kennethreitz/httpbin', 'latest'),
      ...tagged('citizenstig/httpbin', 'latest'),
    ],
    example: 'httpbin',
    ports: ['80/tcp'],
    tools: { 'usr/local/bin/gunicorn': 'gunicorn.sh' },
  },
  {
    names: [
      ...tagged('istio/tcp-echo-server', 'latest', '1.1', '1.2', '1.3'),
      ...tagged('registry.istio.io/release/tcp-echo-server', 'latest', '1.2', '1.3'),
    ],
    example: 'tcp-echo',
    ports: ['9000/tcp'],
  },
  ...['v1', 'v2'].map((version) => ({
    names: [
      ...tagged(`istio/examples-helloworld-${version}`, 'latest', '1.0'),
      ...tagged(`registry.istio.io/release/examples-helloworld-${version}`, 'latest', '1.0'),
    ],
    example: 'helloworld',
    env: [`SERVICE_VERSION=${version}`],
    ports: ['5000/tcp'],
  })),
  {
    names: tagged('fortio/fortio', 'latest', 'latest_release', '1.69.5', '1.66.5'),
    example: 'fortio',
    script: 'fortio.mjs',
    ports: ['8080/tcp'],
    tools: { 'usr/bin/fortio': 'fortio.sh' },
  },
  {
    names: ['sampan.local/echo:1'],
    example: 'echo',
    ports: ['8080/tcp'],
  },
]

const MYSQL_NAMES = ['mysql:5.7', 'mysql:8.0', 'mariadb:10.11']

/** Names of all bundled images, as manifests write them. */
const NAMES: ReadonlySet<string> = new Set([
  ...EXAMPLES.flatMap((e) => e.names),
  ...ISTIO_EXAMPLES.flatMap((e) => e.names),
  ...CURL_NAMES,
  ...BUSYBOX_NAMES,
  ...MYSQL_NAMES,
  PROXY_IMAGE,
  PAUSE_IMAGE,
])

/** True for an image that comes with the program; a registry's default parts may be written or not. */
export function isBundled(image: string): boolean {
  const short = image.replace(/^docker\.io\/(library\/)?/, '')
  const full = /[:@][^/]*$/.test(short) ? short : `${short}:latest`
  return NAMES.has(full) || NAMES.has(`docker.io/${full}`)
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

/** Applets of busybox that tutorials use with more options than Debian's build knows. */
const SCRIPTS = ['wget', 'nslookup', 'nc']

const BUSYBOX = ['/bin/busybox', '/usr/bin/busybox']

const PASSWD =
  'root:x:0:0:root:/root:/bin/sh\nistio-proxy:x:1337:1337::/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n'
const GROUP = 'root:x:0:\nistio-proxy:x:1337:\nnogroup:x:65534:\n'

function baseLayer(): Layer {
  const busybox = BUSYBOX.find(existsSync) ?? '/bin/busybox'
  const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n')
  const own = new Set(['busybox', 'curl', 'node', 'nft', ...SCRIPTS])
  const entries: LayerEntry[] = [
    ...USR_MERGE,
    { path: 'etc/passwd', data: PASSWD },
    { path: 'etc/group', data: GROUP },
    { path: 'etc/nsswitch.conf', data: 'hosts: files dns\n' },
    { path: 'tmp', directory: true, mode: 0o1777 },
    { path: 'root', directory: true, mode: 0o700 },
    { path: 'var/run', directory: true },
    { path: 'usr/bin/busybox', from: busybox, mode: 0o755 },
    ...applets.filter((a) => !own.has(a)).map((a): LayerEntry => ({ path: `usr/bin/${a}`, link: 'busybox' })),
    ...SCRIPTS.map((name) => ({ path: `usr/bin/${name}`, from: join(ROOT, 'examples/busybox', name), mode: 0o755 })),
    ...merged(program('/usr/bin/curl')),
    ...(existsSync('/bin/bash') ? merged(program('/bin/bash')) : []),
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
      { path: 'opt/sampan/proxy.mjs', data: await bundle(join(ROOT, 'src/proxy/main.ts'), { minify: true }) },
      ...koffiEntries(),
      ...merged(program('/usr/sbin/nft')),
    ]),
  )
}

/** Examples whose programs use packages. */
const PACKED = new Set(['petclinic', 'echo'])

/** An example's programs at /app, and what they share. */
async function exampleLayer(name: string): Promise<Layer> {
  const folder = join(ROOT, 'examples', name)
  const files = readdirSync(folder).filter((f) => /\.(mjs|css|html)$/.test(f))
  const entries: LayerEntry[] = files.map((f) => ({ path: `app/${name}/${f}`, from: join(folder, f) }))
  entries.push({ path: 'app/shared/serve.mjs', from: join(ROOT, 'examples/shared/serve.mjs') })
  if (!PACKED.has(name)) return createLayer(entries)
  return createLayer(
    await Promise.all(
      files
        .filter((f) => f.endsWith('.mjs'))
        .map(async (f) => ({ path: `app/${name}/${f}`, data: await bundle(join(folder, f), { minify: true }) })),
    ),
  )
}

function toolLayer(example: string, tools: Readonly<Record<string, string>>): Layer {
  return createLayer(
    Object.entries(tools).map(([path, file]) => ({ path, from: join(ROOT, 'examples', example, file), mode: 0o755 })),
  )
}

/** MariaDB as this machine has it, with an entry point that reads the mysql image's environment. */
function mysqlLayer(): Layer {
  const share = '/usr/share/mysql'
  const files = readdirSync(share, { recursive: true, withFileTypes: true })
    .filter((f) => f.isFile() && (/\.sql$/.test(f.name) || /\/(charsets|english)$/.test(f.parentPath)))
    .map((f): LayerEntry => ({ path: join(f.parentPath, f.name), from: join(f.parentPath, f.name), mode: 0o644 }))
  return createLayer(
    unique([
      { path: 'etc/passwd', data: `${PASSWD}mysql:x:999:999::/var/lib/mysql:/bin/sh\n` },
      { path: 'etc/group', data: `${GROUP}mysql:x:999:\n` },
      { path: 'var/lib/mysql', directory: true, mode: 0o755 },
      {
        path: 'usr/local/bin/docker-entrypoint.sh',
        data: readFileSync(join(ROOT, 'examples/mysql/entrypoint.sh'), 'utf8'),
        mode: 0o755,
      },
      ...merged(program('/usr/sbin/mariadbd')),
      ...['mysql', 'mysqladmin', 'mysqldump'].flatMap((p) =>
        existsSync(`/usr/bin/${p}`) ? merged(program(`/usr/bin/${p}`)) : [],
      ),
      ...files,
    ]),
  )
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
  for (const file of [process.execPath, '/usr/sbin/nft', '/usr/bin/curl', '/usr/sbin/mariadbd'])
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
  const layers = new Map<string, Layer>()
  for (const name of new Set([...EXAMPLES, ...ISTIO_EXAMPLES].map((e) => e.example)))
    if (name) layers.set(name, await exampleLayer(name))
  const images: ImageSpec[] = [
    {
      names: [PAUSE_IMAGE],
      layers: [createLayer([{ path: 'pause', data: pauseProgram(process.arch), mode: 0o755 }])],
      entrypoint: ['/pause'],
    },
    ...[...EXAMPLES, ...ISTIO_EXAMPLES].map(
      ({ names, example = '', script = 'server.mjs', env = [], ports = [], tools }): ImageSpec => ({
        names,
        layers: [base, node, layers.get(example)!, ...(tools ? [toolLayer(example, tools)] : [])],
        entrypoint: ['/usr/bin/node', `/app/${example}/${script}`],
        env,
        ports,
      }),
    ),
    { names: BUSYBOX_NAMES, layers: [base], command: ['sh'] },
    { names: CURL_NAMES, layers: [base], command: ['curl'] },
    {
      names: MYSQL_NAMES,
      layers: [base, mysqlLayer()],
      entrypoint: ['docker-entrypoint.sh'],
      command: ['mysqld'],
      env: ['MYSQL_VERSION=5.7'],
      ports: ['3306/tcp'],
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
