// The data plane's costs beside HAProxy, nginx and nghttpx on the same route in the same run, one worker each:
// CPU of the whole process for each request, bytes for each second of it, latency, memory. An Envoy that is named by
// ENVOY=/path/of/envoy is one more of them.

import { type ChildProcess, execFile, fork, spawn } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { toJson, xds } from '#api/xds'
import type { Message } from '#wire'
import { type ProxyKind, proxyConfig } from './proxy-config.ts'
import { load } from './proxy-load.ts'
import { median, type report as Report } from './report.ts'
import { atRest, cpuMicros, residentMb, Workbench } from './subject.ts'

const CONNECTIONS = 32
const REQUESTS = 20_000
/** Rounds in which ours and its peers are measured in turn. */
const ROUNDS = 5
const LATENCY_ROUNDS = 7
const HAPROXY = '/usr/sbin/haproxy'
const ENVOY = process.env.ENVOY ?? ''
const NGINX = '/usr/sbin/nginx'
/** Those of the data plane's image. */
const FLAGS = ['--max-semi-space-size=4', '--v8-pool-size=1', '--disable-warning=ExperimentalWarning']
const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Processes of a run, and ports that none of them shares. */
class Field {
  readonly folder: string
  readonly #children: ChildProcess[] = []
  #port = 19_080

  constructor(folder: string) {
    this.folder = folder
  }

  port(): number {
    return this.#port++
  }

  async backend(kind: string): Promise<number> {
    const port = this.port()
    await this.#fork('proxy-backend.ts', [kind, String(port), this.folder])
    return port
  }

  /** A process of ours, once it says that it is ready. */
  async #fork(script: string, args: string[]): Promise<number> {
    const child = fork(here(script), args, {
      execArgv: FLAGS,
    })
    this.#children.push(child)
    await new Promise((resolve) => child.once('message', resolve))
    return child.pid!
  }

  async ours(kind: string, backend: number, clusters = 0): Promise<Target> {
    const port = this.port()
    const pid = await this.#fork('proxy-subject.ts', [
      kind,
      String(port),
      String(backend),
      this.folder,
      String(clusters),
    ])
    return { name: 'ours', port, pid }
  }

  /** The data plane as its image runs it: one file, the same flags. */
  async bundled(backend: number, clusters: number): Promise<Target> {
    const { build } = await import('esbuild')
    // Where it finds the native module that the image has, too.
    const outfile = here('../generated/bench-proxy.mjs')
    await build({
      entryPoints: [here('proxy-subject.ts')],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      minify: true,
      external: ['koffi'],
      banner: { js: 'import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);' },
    })
    const port = this.port()
    const child = fork(outfile, ['http1', String(port), String(backend), this.folder, String(clusters)], {
      execArgv: [...FLAGS, '--max-old-space-size=512'],
    })
    this.#children.push(child)
    await new Promise((resolve) => child.once('message', resolve))
    return { name: 'ours', port, pid: child.pid! }
  }

  /** HAProxy with a frontend and a back end. */
  haproxy(mode: 'http' | 'tcp', bind: string, server: string): Target | undefined {
    if (!existsSync(HAPROXY)) return undefined
    const port = this.port()
    const file = join(this.folder, `haproxy-${port}.cfg`)
    writeFileSync(
      file,
      `global\n  nbthread 1\ndefaults\n  mode ${mode}\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\nfrontend f\n  bind 127.0.0.1:${port} ${bind}\n  default_backend b\nbackend b\n  server s ${server}\n`,
    )
    return this.#spawn('haproxy', HAPROXY, ['-db', '-f', file], port)
  }

  nginx(backend: number): Target | undefined {
    if (!existsSync(NGINX)) return undefined
    const port = this.port()
    const file = join(this.folder, `nginx-${port}.conf`)
    const f = this.folder
    writeFileSync(
      file,
      `daemon off; master_process off; worker_processes 1; pid ${f}/pid; error_log /dev/null;\nevents { worker_connections 1024; }\nhttp { access_log off; keepalive_requests 1000000; client_body_temp_path ${f}/b; proxy_temp_path ${f}/p; upstream u { server 127.0.0.1:${backend}; keepalive 64; keepalive_requests 1000000; }\nserver { listen 127.0.0.1:${port}; location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://u; } } }\n`,
    )
    return this.#spawn('nginx', NGINX, ['-c', file, '-e', '/dev/null'], port)
  }

  /** Envoy with the very messages that ours has, on one worker. */
  envoy(kind: ProxyKind, backend: number, others = 0): Target | undefined {
    if (!ENVOY) return undefined
    const port = this.port()
    const config = proxyConfig(kind, { at: port, to: backend, folder: this.folder, others })
    const plain = (type: string) => (m: Message) => toJson(type, xds(type).decode(xds(type).encode(m)))
    const file = join(this.folder, `envoy-${port}.json`)
    writeFileSync(
      file,
      JSON.stringify({
        static_resources: {
          listeners: config.listeners.map(plain('envoy.config.listener.v3.Listener')),
          clusters: config.clusters.map(plain('envoy.config.cluster.v3.Cluster')),
        },
      }),
    )
    const args = ['-c', file, '--concurrency', '1', '--disable-hot-restart', '-l', 'off']
    return this.#spawn('Envoy', ENVOY, args, port)
  }

  nghttpx(backend: number): Target | undefined {
    if (!existsSync('/usr/sbin/nghttpx') && !existsSync('/usr/bin/nghttpx')) return undefined
    const port = this.port()
    return this.#spawn(
      'nghttpx',
      'nghttpx',
      [
        '--conf=/dev/null',
        `--frontend=127.0.0.1,${port};no-tls`,
        `--backend=127.0.0.1,${backend};;proto=h2`,
        '--single-process',
        '--accesslog-file=/dev/null',
        '--errorlog-file=/dev/null',
        '--no-ocsp',
      ],
      port,
    )
  }

  #spawn(name: string, program: string, args: string[], port: number): Target {
    const child = spawn(program, args, { stdio: 'ignore' })
    this.#children.push(child)
    return { name, port, pid: child.pid! }
  }

  end(): void {
    for (const child of this.#children.splice(0)) child.kill('SIGKILL')
  }
}

interface Target {
  readonly name: string
  readonly port: number
  readonly pid: number
}

/** Microseconds of CPU for each request. */
async function cost(
  target: Target,
  total: number,
  run: (port: number, total: number) => Promise<unknown>,
): Promise<number> {
  const before = cpuMicros(target.pid)
  await run(target.port, total)
  return (cpuMicros(target.pid) - before) / total
}

function h2load(target: Target, port: number, total: number, grpc: boolean): Promise<void> {
  const data = join('/tmp', `sampan-bench-grpc-${process.pid}`)
  if (grpc) writeFileSync(data, Buffer.concat([Buffer.from([0, 0, 0, 0, 10]), Buffer.alloc(10)]))
  const args = ['-n', String(total), '-c', '32', '-m', '1', `http://127.0.0.1:${port}/hello`]
  if (grpc) args.unshift('-d', data, '-H', 'content-type: application/grpc', '-H', 'te: trailers')
  return new Promise((resolve, reject) => {
    execFile('h2load', args, (error, stdout) => {
      const ok = Number(/(\d+) succeeded/.exec(stdout)?.[1] ?? 0)
      // Peers may refuse a request now and then; ours must not.
      const least = target.name === 'ours' ? total : total * 0.99
      if (error || ok < least)
        reject(new Error(`h2load: ${ok} of ${total} succeeded through ${target.name}: ${stdout.slice(-500)}`))
      else resolve()
    })
  })
}

/** Microseconds of CPU for each request of wrk's. */
async function wrkCost(target: Target): Promise<number> {
  const before = cpuMicros(target.pid)
  const requests = await new Promise<number>((resolve, reject) => {
    const args = ['-t1', `-c${CONNECTIONS}`, '-d3s', `http://127.0.0.1:${target.port}/hello`]
    execFile('wrk', args, (error, stdout) => {
      const n = Number(/(\d+) requests in/.exec(stdout)?.[1] ?? 0)
      if (error || n === 0 || /Non-2xx|Socket errors/.test(stdout)) reject(new Error(`wrk, ${target.name}: ${stdout}`))
      else resolve(n)
    })
  })
  return (cpuMicros(target.pid) - before) / requests
}

/** Bytes for each second of CPU, read from a server that sends all it can. */
async function bytesRate(target: Target, seconds: number): Promise<number> {
  const sockets = Array.from({ length: 4 }, () => connect({ port: target.port, host: '127.0.0.1' }))
  let bytes = 0
  for (const s of sockets) {
    s.on('error', () => {})
    s.on('data', (d) => {
      bytes += d.length
    })
  }
  await sleep(300)
  const [from, before] = [bytes, cpuMicros(target.pid)]
  await sleep(seconds * 1000)
  const rate = (bytes - from) / ((cpuMicros(target.pid) - before) / 1e6)
  for (const s of sockets) s.destroy()
  return rate
}

export async function run(report: typeof Report): Promise<void> {
  using bench = await Workbench.open()
  const field = new Field(bench.folder)
  try {
    await http1(field, report)
    field.end()
    await mtls(field, report)
    field.end()
    await http2(field, report)
    field.end()
    await tcp(field, report)
    field.end()
    await latency(field, report)
    field.end()
    await hostile(field, report)
    field.end()
    await memory(field, report)
  } finally {
    field.end()
  }
}

/**
 * Measures all of them in turn, round by round, after a round that does not count: a machine that is slow for a while is
 * slow for all. The medians are told.
 */
async function compare(
  report: typeof Report,
  metric: string,
  targets: readonly (Target | undefined)[],
  budget: string,
  measure: (target: Target) => Promise<number>,
  unit = 'µs',
): Promise<void> {
  await sleep(1500)
  const figures = targets.filter((t) => t !== undefined).map((target) => ({ target, values: [] as number[] }))
  for (let round = 0; round <= ROUNDS; round++)
    for (const { target, values } of figures) {
      const value = await measure(target)
      if (round > 0) values.push(value)
    }
  const [ours, ...peers] = figures.map(({ target, values }) => ({ name: target.name, value: median(values) }))
  for (const peer of peers) report({ metric, unit, ours: ours!.value, peer: peer.value, peerName: peer.name, budget })
  if (peers.length === 0) report({ metric, unit, ours: ours!.value, budget })
}

async function http1(field: Field, report: typeof Report): Promise<void> {
  const backend = await field.backend('http1')
  const targets = [
    await field.ours('http1', backend),
    field.haproxy('http', '', `127.0.0.1:${backend}`),
    field.nginx(backend),
    field.envoy('http1', backend),
  ]
  await compare(report, 'HTTP/1.1, routed, metrics on: CPU each', targets, '28 µs, 1.5 × HAProxy', wrkCost)
}

async function mtls(field: Field, report: typeof Report): Promise<void> {
  const { folder } = field
  const backend = await field.backend('tls')
  writeFileSync(join(folder, 'server.pem'), pemOf(folder, 'server'))
  writeFileSync(join(folder, 'admin.pem'), pemOf(folder, 'admin'))
  const targets = [
    await field.ours('mtls', backend),
    field.haproxy(
      'http',
      `ssl crt ${folder}/server.pem ca-file ${folder}/ca.crt verify required alpn http/1.1`,
      `127.0.0.1:${backend} ssl crt ${folder}/admin.pem ca-file ${folder}/ca.crt verify required sni str(localhost) alpn http/1.1`,
    ),
    field.envoy('mtls', backend),
  ]
  await compare(report, 'the same over mTLS on both sides: CPU each', targets, '1.5 × HAProxy', (t) =>
    cost(t, REQUESTS, (port, total) => load({ port, connections: CONNECTIONS, total, folder })),
  )
}

function pemOf(folder: string, name: string): string {
  return readFileSync(join(folder, `${name}.crt`), 'utf8') + readFileSync(join(folder, `${name}.key`), 'utf8')
}

async function http2(field: Field, report: typeof Report): Promise<void> {
  const backend = await field.backend('http2')
  const targets = [
    await field.ours('http2', backend),
    field.haproxy('http', 'proto h2', `127.0.0.1:${backend} proto h2`),
    field.nghttpx(backend),
    field.envoy('http2', backend),
  ]
  for (const grpc of [false, true])
    await compare(
      report,
      `${grpc ? 'gRPC unary' : 'HTTP/2'}, both sides: CPU each`,
      targets,
      '2 × HAProxy or nghttpx',
      (t) => cost(t, REQUESTS, (port, total) => h2load(t, port, total, grpc)),
    )
}

async function tcp(field: Field, report: typeof Report): Promise<void> {
  const backend = await field.backend('source')
  const targets = [
    await field.ours('tcp', backend),
    field.haproxy('tcp', '', `127.0.0.1:${backend}`),
    field.envoy('tcp', backend),
  ]
  await compare(
    report,
    'TCP: bytes for each second of CPU',
    targets,
    'half of HAProxy',
    async (t) => (await bytesRate(t, 2)) / 1e6,
    'MB',
  )
}

/** What two proxies in a row add at 1,000 requests a second: theirs and the way without any in turn, the median of rounds. */
async function latency(field: Field, report: typeof Report): Promise<void> {
  const backend = await field.backend('http1')
  const haproxy = (to: number) => field.haproxy('http', '', `127.0.0.1:${to}`)
  const envoy = (to: number) => field.envoy('http1', to)
  /** The first of two in a row. */
  const pair = (begin: (to: number) => Target | undefined) => {
    const second = begin(backend)
    return second && begin(second.port)
  }
  const second = await field.ours('http1', backend)
  const peers = [pair(haproxy), pair(envoy)].filter((t) => t !== undefined)
  const ways = [{ name: 'none', port: backend }, await field.ours('http1', second.port), ...peers]
  await sleep(1000)
  // Until what compiles the hot path is done with it.
  for (const { port } of ways) await load({ port, connections: 16, total: 40_000 })
  const rounds: number[][][] = ways.map(() => [])
  for (let round = 0; round < LATENCY_ROUNDS; round++)
    for (const [i, { port }] of ways.entries()) {
      const times = await load({ port, connections: 16, total: 3000, rate: 1000 })
      rounds[i]!.push(times.sort((a, b) => a - b))
    }
  const [direct, ours, ...others] = rounds.map(
    (of) => (q: number) => median(of.map((times) => times[Math.floor(times.length * q)]!)),
  )
  for (const [q, budget] of [
    [0.5, undefined],
    [0.9, '0.20'],
    [0.99, '0.30'],
  ] as const) {
    const metric = `two proxies at 1,000 requests/s: added latency, p${q * 100}`
    const line = { metric, unit: 'ms', ours: ours!(q) - direct!(q), ...(budget ? { budget } : {}) }
    if (others.length === 0) report(line)
    for (const [i, other] of others.entries())
      report({ ...line, peer: other(q) - direct!(q), peerName: `two of ${peers[i]!.name}` })
  }
}

/** What others feel while slow, huge, endless and reset-happy clients are at work: with them and without in turn. */
async function hostile(field: Field, report: typeof Report): Promise<void> {
  const backend = await field.backend('http1')
  const target = await field.ours('http1', backend)
  const other = await field.ours('http1', backend)
  const p99 = async () => {
    const times = await load({ port: target.port, connections: 8, total: 2400, rate: 800 })
    return times.sort((a, b) => a - b)[Math.floor(times.length * 0.99)]!
  }
  await load({ port: target.port, connections: 8, total: 40_000 })
  const alone: number[] = []
  const elsewhere: number[] = []
  const beside: number[] = []
  const memory: number[] = []
  const besideThoseAt = async (port: number) => {
    const peers = fork(here('proxy-hostile.ts'), [String(port)])
    try {
      await sleep(1000)
      return await p99()
    } finally {
      memory.push(residentMb(target.pid))
      peers.kill()
      await sleep(500)
    }
  }
  for (let round = 0; round < LATENCY_ROUNDS; round++) {
    alone.push(await p99())
    elsewhere.push(await besideThoseAt(other.port))
    beside.push(await besideThoseAt(target.port))
  }
  // At another proxy they take as much of the machine, and nothing of this one.
  const line = { metric: 'GET of others beside hostile clients, p99', unit: 'ms', ours: median(beside) }
  report({ ...line, peer: median(elsewhere), peerName: 'those at another proxy', budget: '2 ×' })
  report({ ...line, peer: median(alone), peerName: 'without them' })
  report({ metric: 'resident memory beside hostile clients', unit: 'MB', ours: Math.max(...memory) })
}

const besides = (target: Target | undefined) => (target ? { peer: residentMb(target.pid), peerName: target.name } : {})

async function memory(field: Field, report: typeof Report): Promise<void> {
  const backend = await field.backend('http1')
  const idle = await field.bundled(backend, 0)
  const many = await field.bundled(backend, 1000)
  const peers = [field.envoy('http1', backend), field.envoy('http1', backend, 1000)]
  await atRest()
  report({
    metric: 'resident memory, idle',
    unit: 'MB',
    ours: residentMb(idle.pid),
    ...besides(peers[0]),
    budget: '55',
  })
  report({
    metric: 'resident memory, 1,000 clusters',
    unit: 'MB',
    ours: residentMb(many.pid),
    ...besides(peers[1]),
    budget: '70',
  })
  const sockets: Socket[] = []
  // Each has served a request and stays open; they come in hundreds.
  for (let i = 0; i < 100; i++) {
    const batch = Array.from({ length: 100 }, () =>
      connect({ port: idle.port, host: '127.0.0.1', localAddress: `127.0.0.${2 + (i % 8)}` }),
    )
    await Promise.all(
      batch.map(
        (socket) =>
          new Promise((resolve, reject) => {
            socket.on('error', reject)
            socket.once('data', resolve)
            socket.write('GET /hello HTTP/1.1\r\nHost: greeter\r\n\r\n')
          }),
      ),
    )
    sockets.push(...batch)
  }
  await atRest()
  report({ metric: 'resident memory, 10,000 open connections', unit: 'MB', ours: residentMb(idle.pid), budget: '150' })
  for (const s of sockets) s.destroy()
}
