// etcd's own puts, as the yardstick of what writes cost: one member of Debian's etcd, spoken to by gRPC.

import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync } from 'node:fs'
import type { AddressInfo } from 'node:net'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { openEtcdStore } from '#store/etcd'

const freePort = () =>
  new Promise<number>((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })

/** Puts a second by so many writers, values of so many bytes; over TLS as an API server's are, or in the clear. */
export async function etcdPuts(
  folder: string,
  writers: number,
  bytes: number,
  tls: boolean,
): Promise<{ rate: number }> {
  const data = join(folder, `etcd-${tls}`)
  mkdirSync(data, { recursive: true, mode: 0o700 })
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
    const store = await openEtcdStore({
      endpoints: [url],
      ...(tls ? { tls: { ca: readFileSync(file('ca.crt'), 'utf8') } } : {}),
    })
    const value = new Uint8Array(bytes).fill(120)
    let count = 0
    const until = performance.now() + 4000
    const begin = performance.now()
    await Promise.all(
      Array.from({ length: writers }, async () => {
        while (performance.now() < until) await store.create(`/bench/${count++}`, value)
      }),
    )
    const rate = (count / (performance.now() - begin)) * 1000
    await store.close()
    return { rate }
  } finally {
    child.kill()
  }
}
