// A real etcd, of one member or several, in a folder and on ports of its own.

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { EtcdTarget } from '#store/etcd'
import { createAuthority, issue } from '#wire'

export interface TestEtcd extends AsyncDisposable {
  readonly target: EtcdTarget
  /** Kills a member without warning. */
  kill(member: number): Promise<void>
  /** Starts a member that was killed. */
  start(member: number): void
  /** Stops a member's process where it is, or lets it go on. */
  pause(member: number): void
  resume(member: number): void
}

export const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })

/** Starts etcd; resolves once it is spoken to, by whoever connects. */
export async function startEtcd(options: { members?: number; tls?: boolean } = {}): Promise<TestEtcd> {
  const { members = 1, tls = false } = options
  const folder = mkdtempSync(join(tmpdir(), 'sampan-etcd-'))
  const scheme = tls ? 'https' : 'http'
  const ports: [client: number, peer: number][] = []
  for (let i = 0; i < members; i++) ports.push([await freePort(), await freePort()])
  const cluster = ports.map(([, peer], i) => `m${i}=http://127.0.0.1:${peer}`).join(',')
  let client: EtcdTarget['tls']
  const security: string[] = []
  if (tls) {
    const ca = await createAuthority('etcd-ca')
    const server = await issue(ca, { commonName: 'etcd', usage: 'server', ips: ['127.0.0.1'], dnsNames: ['localhost'] })
    const user = await issue(ca, { commonName: 'sampan', usage: 'client' })
    for (const [name, text] of [
      ['ca.crt', ca.cert],
      ['server.crt', server.cert],
      ['server.key', server.key],
    ] as const)
      writeFileSync(join(folder, name), text, { mode: 0o600 })
    client = { ca: ca.cert, cert: user.cert, key: user.key }
    security.push(
      `--cert-file=${join(folder, 'server.crt')}`,
      `--key-file=${join(folder, 'server.key')}`,
      `--trusted-ca-file=${join(folder, 'ca.crt')}`,
      '--client-cert-auth',
    )
  }
  const children: (ChildProcess | undefined)[] = []
  const start = (i: number) => {
    const [at, peer] = ports[i]!
    const data = join(folder, `m${i}`)
    mkdirSync(data, { recursive: true, mode: 0o700 })
    children[i] = spawn(
      'etcd',
      [
        `--name=m${i}`,
        `--data-dir=${data}`,
        `--listen-client-urls=${scheme}://127.0.0.1:${at}`,
        `--advertise-client-urls=${scheme}://127.0.0.1:${at}`,
        `--listen-peer-urls=http://127.0.0.1:${peer}`,
        `--initial-advertise-peer-urls=http://127.0.0.1:${peer}`,
        `--initial-cluster=${cluster}`,
        '--heartbeat-interval=50',
        '--election-timeout=500',
        ...security,
      ],
      { stdio: 'ignore' },
    )
  }
  const kill = (i: number) =>
    new Promise<void>((resolve) => {
      const child = children[i]
      if (!child || child.exitCode !== null || child.signalCode !== null) return resolve()
      child.once('exit', () => resolve())
      child.kill('SIGCONT')
      child.kill('SIGKILL')
    })
  for (let i = 0; i < members; i++) start(i)
  return {
    target: { endpoints: ports.map(([at]) => `${scheme}://127.0.0.1:${at}`), ...(client ? { tls: client } : {}) },
    kill,
    start,
    pause: (i) => void children[i]?.kill('SIGSTOP'),
    resume: (i) => void children[i]?.kill('SIGCONT'),
    async [Symbol.asyncDispose]() {
      for (let i = 0; i < members; i++) await kill(i)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
