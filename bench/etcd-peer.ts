// etcd's own puts, as the yardstick of what writes cost: one member of Debian's etcd, spoken to by gRPC, nobody watching.

import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { EtcdClient } from '../src/store/etcd/client.ts'
import { Etcd } from '../src/store/etcd/messages.ts'

/** So long etcd may take to start, milliseconds. */
const START_MS = 10_000

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })

/**
 * Puts a second by so many writers, values of so many bytes; over TLS as an API server's are, or in the clear; each writer
 * on a connection of its own, or all on one.
 */
export async function etcdPuts(
  folder: string,
  writers: number,
  bytes: number,
  tls: boolean,
  ownConnections = false,
): Promise<{ rate: number }> {
  const data = mkdtempSync(join(folder, 'etcd-'))
  const [client, peer] = [await freePort(), await freePort()]
  const url = `${tls ? 'https' : 'http'}://127.0.0.1:${client}`
  const file = (name: string) => join(folder, name)
  const child = spawn(
    'etcd',
    [
      `--data-dir=${data}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=http://127.0.0.1:${peer}`,
      `--initial-advertise-peer-urls=http://127.0.0.1:${peer}`,
      `--initial-cluster=default=http://127.0.0.1:${peer}`,
      ...(tls ? [`--cert-file=${file('server.crt')}`, `--key-file=${file('server.key')}`] : []),
    ],
    { stdio: 'ignore' },
  )
  try {
    const target = { endpoints: [url], ...(tls ? { tls: { ca: readFileSync(file('ca.crt'), 'utf8') } } : {}) }
    const clients = Array.from({ length: ownConnections ? writers : 1 }, () => new EtcdClient(target))
    await Promise.all(clients.map((c) => c.attempt(Etcd.status, {}, START_MS)))
    const value = new Uint8Array(bytes).fill(120)
    let count = 0
    const until = performance.now() + 4000
    const begin = performance.now()
    await Promise.all(
      Array.from({ length: writers }, async (_, i) => {
        const etcd = clients[i % clients.length]!
        while (performance.now() < until) {
          const key = Buffer.from(`/bench/${count++}`)
          await etcd.call(Etcd.txn, { success: [{ put: { key, value } }] })
        }
      }),
    )
    const rate = (count / (performance.now() - begin)) * 1000
    for (const c of clients) c.close()
    return { rate }
  } finally {
    child.kill()
  }
}
