// The data plane's CPU per request, HTTP/1.1 keep-alive, beside HAProxy and nginx on the same route in the same run.

import { type ChildProcess, fork, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { report as Report } from './report.ts'

const BACKEND = 19080
const PORTS = { ours: 19081, haproxy: 19082, nginx: 19083 }
const CONNECTIONS = 32
const REQUESTS = 40_000
const ANSWER = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n${'x'.repeat(1024)}`
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

const cpu = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return ((Number(fields[11]) + Number(fields[12])) / 100) * 1e6
}

/** Sends requests over keep-alive connections, one after the other on each. */
async function load(port: number, total: number): Promise<void> {
  let left = total
  const request = 'GET /hello HTTP/1.1\r\nHost: greeter\r\nUser-Agent: bench\r\n\r\n'
  await Promise.all(
    Array.from(
      { length: CONNECTIONS },
      () =>
        new Promise<void>((resolve, reject) => {
          const socket = connect({ port, host: '127.0.0.1', noDelay: true })
          let need = 0
          let text = ''
          const next = () => {
            if (left-- <= 0) {
              socket.end()
              return resolve()
            }
            text = ''
            need = 0
            socket.write(request)
          }
          socket.on('connect', next)
          socket.on('error', reject)
          socket.on('data', (data) => {
            text += data.toString('latin1')
            if (need === 0) {
              const end = text.indexOf('\r\n\r\n')
              if (end < 0) return
              if (!text.startsWith('HTTP/1.1 200')) return reject(new Error(text.slice(0, 100)))
              need = end + 4 + Number(/content-length: (\d+)/i.exec(text)![1])
            }
            if (text.length >= need) next()
          })
        }),
    ),
  )
}

export async function run(report: typeof Report): Promise<void> {
  const folder = mkdtempSync('/tmp/sampan-bench-')
  const children: ChildProcess[] = []
  try {
    const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))
    children.push(fork(here('proxy-backend.ts'), [String(BACKEND)], { env: { ...process.env, ANSWER } }))
    const ours = fork(here('proxy-subject.ts'), [String(PORTS.ours), String(BACKEND)], {
      execArgv: ['--max-semi-space-size=4', '--disable-warning=ExperimentalWarning'],
    })
    children.push(ours)
    const pids: Record<string, number> = { ours: ours.pid! }
    if (existsSync('/usr/sbin/haproxy')) {
      const file = join(folder, 'haproxy.cfg')
      writeFileSync(
        file,
        `global\n  nbthread 1\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\nfrontend f\n  bind 127.0.0.1:${PORTS.haproxy}\n  default_backend b\nbackend b\n  server s 127.0.0.1:${BACKEND}\n`,
      )
      const child = spawn('/usr/sbin/haproxy', ['-db', '-f', file], { stdio: 'ignore' })
      children.push(child)
      pids.haproxy = child.pid!
    }
    if (existsSync('/usr/sbin/nginx')) {
      const file = join(folder, 'nginx.conf')
      writeFileSync(
        file,
        `daemon off; master_process off; worker_processes 1; pid ${folder}/pid; error_log /dev/null;\nevents { worker_connections 1024; }\nhttp { access_log off; keepalive_requests 1000000; client_body_temp_path ${folder}/b; proxy_temp_path ${folder}/p; upstream u { server 127.0.0.1:${BACKEND}; keepalive 64; keepalive_requests 1000000; }\nserver { listen 127.0.0.1:${PORTS.nginx}; location / { proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass http://u; } } }\n`,
      )
      const child = spawn('/usr/sbin/nginx', ['-c', file, '-e', '/dev/null'], { stdio: 'ignore' })
      children.push(child)
      pids.nginx = child.pid!
    }
    await sleep(1500)
    const figures: Record<string, number> = {}
    for (const [name, pid] of Object.entries(pids)) {
      const port = PORTS[name as keyof typeof PORTS]
      await load(port, 10_000)
      const before = cpu(pid)
      await load(port, REQUESTS)
      figures[name] = (cpu(pid) - before) / REQUESTS
    }
    for (const peer of ['haproxy', 'nginx'])
      if (figures[peer] !== undefined)
        report({
          metric: 'CPU per request, HTTP/1.1, routed, metrics on',
          unit: 'µs',
          ours: figures.ours!,
          peer: figures[peer],
          peerName: peer,
          budget: '28 µs, 1.5 × HAProxy',
        })
    if (!figures.haproxy && !figures.nginx)
      report({ metric: 'CPU per request, HTTP/1.1, routed, metrics on', unit: 'µs', ours: figures.ours!, budget: '28' })
    const rss = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pids.ours}/status`, 'utf8'))![1]) / 1024
    report({ metric: 'resident memory under this load (not bundled)', unit: 'MB', ours: rss, budget: '55' })
  } finally {
    for (const child of children) child.kill()
    rmSync(folder, { recursive: true, force: true })
  }
}
