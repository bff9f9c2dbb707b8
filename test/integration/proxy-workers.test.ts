// A proxy of several workers: what one takes along when it ends, what the others have, and how all count as one.

import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { freePort } from '#kit'

const SUBJECT = fileURLToPath(new URL('../kit/workers-subject.ts', import.meta.url))

/** Asks again until there is an answer. */
async function until<T>(look: () => Promise<T | false>): Promise<T> {
  for (;;) {
    const found = await look()
    if (found) return found
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

async function proxyOf(workers: number) {
  const backend = createServer((_request, response) => response.end('hello')).listen(0, '127.0.0.1')
  await once(backend, 'listening')
  const port = await freePort()
  const child: ChildProcess = fork(SUBJECT, [port, (backend.address() as AddressInfo).port, workers].map(String), {
    execArgv: ['--disable-warning=ExperimentalWarning'],
  })
  const ask = async <T>(what: 'pids' | 'stats'): Promise<T> => {
    const answer = once(child, 'message')
    child.send(what)
    return (await answer)[0]
  }
  const pids = () => until(async () => ((all) => all.length === workers && all)(await ask<number[]>('pids')))
  await pids()
  return {
    port,
    pids,
    stats: () => ask<string>('stats'),
    move: () => child.send('move'),
    said: async () => (await once(child, 'message'))[0] as unknown,
    async [Symbol.asyncDispose]() {
      child.disconnect()
      await once(child, 'exit')
      backend.closeAllConnections()
      backend.close()
    },
  }
}

/** Asks on a connection; the status, or undefined when the connection is gone. */
function askOn(socket: Socket, path = '/'): Promise<number | undefined> {
  return new Promise((resolve) => {
    let text = ''
    const done = (status: number | undefined) => {
      socket.off('data', onData)
      socket.off('close', onClose)
      resolve(status)
    }
    const onData = (data: Buffer) => {
      text += data
      const status = Number(/^HTTP\/1\.1 (\d+) /.exec(text)?.[1])
      if (text.endsWith('hello') || (status !== 200 && text.includes('\r\n\r\n'))) done(status)
    }
    const onClose = () => done(undefined)
    if (socket.destroyed) return resolve(undefined)
    socket.on('data', onData)
    socket.on('close', onClose)
    socket.write(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`)
  })
}

async function open(port: number): Promise<Socket> {
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

const openMany = (port: number, count: number) => Promise.all(Array.from({ length: count }, () => open(port)))

test('the end of a worker takes its own connections along and no others, and another takes its place', async () => {
  await using proxy = await proxyOf(3)
  const first = await proxy.pids()
  let sockets = await openMany(proxy.port, 90)
  assert.deepEqual(new Set(await Promise.all(sockets.map((s) => askOn(s)))), new Set([200]))
  const lost: number[] = []
  for (const pid of first) {
    process.kill(pid, 'SIGKILL')
    await until(async () => !(await proxy.pids()).includes(pid))
    const answers = await Promise.all(sockets.map((s) => askOn(s)))
    // Whoever is still there is served.
    for (const answer of answers) assert.ok(answer === 200 || answer === undefined, `answers: ${answers}`)
    lost.push(answers.filter((a) => a === undefined).length)
    sockets = sockets.filter((_, i) => answers[i] === 200)
    const fresh = await open(proxy.port)
    assert.equal(await askOn(fresh), 200)
    fresh.destroy()
  }
  assert.equal(
    lost.reduce((a, b) => a + b),
    90,
  )
  assert.ok(Math.max(...lost) < 90, `one worker had them all: ${lost}`)
})

test('what is told on demand reaches every worker, and so does its absence', { timeout: 60_000 }, async () => {
  await using proxy = await proxyOf(2)
  for (const [path, status] of [
    ['/late', 200],
    ['/nobody', 503],
  ] as const) {
    const sockets = await openMany(proxy.port, 20)
    // One after the other: if each waited for as long as one waits for what is never told, the test would not end.
    for (const s of sockets) assert.equal(await askOn(s, path), status)
    for (const s of sockets) s.destroy()
  }
})

// An agent acknowledged what it had only passed on: a worker that stood still went on sending requests to a pod that was
// told to stop because every proxy had acknowledged that it is gone.
test('what is acknowledged is in force in every worker', async () => {
  await using proxy = await proxyOf(2)
  const [pid] = await proxy.pids()
  process.kill(pid!, 'SIGSTOP')
  proxy.move()
  // The agent itself goes on: it answers what it is asked after that.
  assert.equal((await proxy.pids()).length, 2)
  process.kill(pid!, 'SIGCONT')
  assert.equal(await proxy.said(), 'moved')
  const sockets = await openMany(proxy.port, 20)
  assert.deepEqual(new Set(await Promise.all(sockets.map((s) => askOn(s)))), new Set([204]))
  for (const s of sockets) s.destroy()
})

test('workers are counted as one proxy, those that are gone included', async () => {
  await using proxy = await proxyOf(2)
  const [pid] = await proxy.pids()
  const sockets = await openMany(proxy.port, 40)
  for (let i = 0; i < 5; i++) await Promise.all(sockets.map((s) => askOn(s)))
  const total = async () => {
    const text = await proxy.stats()
    const of = (name: string) =>
      [...text.matchAll(new RegExp(`^${name}\\{[^}]*\\} (\\d+)$`, 'gm'))].reduce((n, m) => n + Number(m[1]), 0)
    return [of('istio_requests_total'), of('istio_request_duration_milliseconds_count')]
  }
  assert.deepEqual(await total(), [200, 200])
  process.kill(pid!, 'SIGKILL')
  await until(async () => !(await proxy.pids()).includes(pid!))
  assert.deepEqual(await total(), [200, 200])
  for (const s of sockets) s.destroy()
})
