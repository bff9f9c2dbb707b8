// Thousands of watches through kills of the server, and one pause too long: each is told every change it asked
// for, once and in order, or 410 when the past is gone. WATCHES sets how many (10000 in the record).

import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { type ClientHttp2Session, connect } from 'node:http2'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import type { Json } from '#api'
import { writeCertificates } from '../../bench/certificates.ts'
import { freePort } from '../kit/etcd.ts'

const WATCHES = Number(process.env.WATCHES ?? 300)
const NAMESPACES = 20
const NAMES = 10
/** Streams of one connection. */
const STREAMS = 200
const SUBJECT = fileURLToPath(new URL('../../bench/api-subject.ts', import.meta.url))
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

interface Write {
  readonly revision: number
  readonly namespace: string
  readonly name: string
  readonly type: string
}

/** One watch: what it asks for, and what it was told. */
class Watch {
  readonly namespace: string
  readonly name: string
  revision: number
  readonly told: string[] = []
  /** Revisions it did not hear of, because they were gone: after the first, up to the second. */
  readonly gaps: [number, number][] = []
  gone = false

  constructor(i: number, revision: number) {
    this.namespace = i % 3 === 0 ? '' : `ns-${i % NAMESPACES}`
    this.name = i % 3 === 2 ? `m-${i % NAMES}` : ''
    this.revision = revision
  }

  get path(): string {
    const scope = this.namespace ? `/namespaces/${this.namespace}` : ''
    const name = this.name ? `&fieldSelector=metadata.name%3D${this.name}` : ''
    return `/api/v1${scope}/configmaps?watch=1&resourceVersion=${this.revision}${name}`
  }

  wants(w: Write): boolean {
    return (!this.namespace || w.namespace === this.namespace) && (!this.name || w.name === this.name)
  }

  take(line: string): void {
    const { type, object } = JSON.parse(line) as { type: string; object: Json }
    if (type === 'ERROR') {
      assert.equal(object.code, 410, line)
      this.gone = true
      return
    }
    this.revision = Number(object.metadata.resourceVersion)
    this.told.push(`${this.revision} ${type} ${object.metadata.namespace}/${object.metadata.name}`)
  }

  open(session: ClientHttp2Session): Promise<void> {
    const stream = session.request({ ':path': this.path })
    let rest = ''
    stream.setEncoding('utf8').on('data', (data: string) => {
      const lines = (rest + data).split('\n')
      rest = lines.pop()!
      for (const line of lines) this.take(line)
    })
    stream.on('error', () => {})
    return new Promise((resolve) => {
      stream.on('response', (headers) => {
        assert.equal(headers[':status'], 200)
        resolve()
      })
      stream.on('close', () => resolve())
    })
  }
}

test(`${WATCHES} watches through kills and a pause: nothing lost, nothing twice, 410 when due`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sampan-watches-'))
  const port = await freePort()
  let server: ChildProcess | undefined
  const sessions: ClientHttp2Session[] = []
  try {
    await writeCertificates(folder)
    const read = (name: string) => readFileSync(join(folder, name))
    const tls = { ca: read('ca.crt'), cert: read('admin.crt'), key: read('admin.key') }
    const start = () =>
      new Promise<void>((resolve) => {
        server = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', SUBJECT, folder, String(port)], {
          stdio: ['ignore', 'pipe', 'inherit'],
        })
        server.stdout!.once('data', () => resolve())
      })
    const kill = () =>
      new Promise<void>((resolve) => {
        server!.once('exit', () => resolve())
        server!.kill('SIGKILL')
      })
    const residentMb = () =>
      Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${server!.pid}/status`, 'utf8'))![1]) / 1024
    const api = (method: string, path: string, body?: Json) =>
      new Promise<Json>((resolve, reject) => {
        const text = body && JSON.stringify(body)
        const headers = text
          ? {
              'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json',
              'content-length': Buffer.byteLength(text),
            }
          : {}
        const call = request({ host: '127.0.0.1', port, method, path, agent: false, headers, ...tls }, (response) => {
          let answer = ''
          response.setEncoding('utf8').on('data', (d: string) => (answer += d))
          response.on('end', () => {
            if ((response.statusCode ?? 0) >= 300) reject(new Error(answer))
            else resolve(JSON.parse(answer))
          })
        })
        call.on('error', reject)
        call.end(text)
      })

    await start()
    for (let n = 0; n < NAMESPACES; n++) await api('POST', '/api/v1/namespaces', { metadata: { name: `ns-${n}` } })
    const writes: Write[] = []
    const there = new Set<string>()
    let round = 0
    /** Creates, changes and deletes by turns. */
    const write = async (count: number) => {
      for (let i = 0; i < count; i++) {
        const at = round++
        const [namespace, name] = [`ns-${at % NAMESPACES}`, `m-${(at * 7) % NAMES}`]
        const path = `/api/v1/namespaces/${namespace}/configmaps`
        const key = `${namespace}/${name}`
        if (!there.has(key)) {
          const { metadata } = await api('POST', path, { metadata: { name }, data: { at: `${at}` } })
          writes.push({ revision: Number(metadata.resourceVersion), namespace, name, type: 'ADDED' })
          there.add(key)
        } else if (at % 5 > 0) {
          const { metadata } = await api('PATCH', `${path}/${name}`, { data: { at: `${at}` } })
          writes.push({ revision: Number(metadata.resourceVersion), namespace, name, type: 'MODIFIED' })
        } else {
          await api('DELETE', `${path}/${name}`)
          const { metadata } = await api('GET', path)
          // A deletion has the revision behind which the list stands.
          writes.push({ revision: Number(metadata.resourceVersion), namespace, name, type: 'DELETED' })
          there.delete(key)
        }
      }
    }
    const revision = async () => Number((await api('GET', '/api/v1/configmaps?limit=1')).metadata.resourceVersion)

    const begin = await revision()
    const watches = Array.from({ length: WATCHES }, (_, i) => new Watch(i, begin))
    const connectAll = async (some: readonly Watch[]) => {
      for (let i = 0; i < some.length; i += STREAMS) {
        const session = connect(`https://127.0.0.1:${port}`, tls)
        session.on('error', () => {})
        sessions.push(session)
        await Promise.all(some.slice(i, i + STREAMS).map((w) => w.open(session)))
      }
    }
    const disconnect = () => {
      for (const session of sessions.splice(0)) session.destroy()
    }
    const expected = (w: Watch) =>
      writes
        .filter((x) => x.revision > begin && w.wants(x))
        .filter((x) => !w.gaps.some(([after, until]) => x.revision > after && x.revision <= until))
        .map((x) => `${x.revision} ${x.type} ${x.namespace}/${x.name}`)
    const settled = async (some: readonly Watch[]) => {
      const end = Date.now() + 60_000
      while (some.some((w) => w.told.length < expected(w).length)) {
        assert.ok(Date.now() < end, 'not all events came')
        await sleep(100)
      }
      await sleep(200)
    }

    await connectAll(watches)
    const opened = residentMb()
    await write(60)
    await settled(watches)
    for (let kills = 0; kills < 3; kills++) {
      // Killed in the midst of telling; what happens while nobody listens is told afterwards.
      await write(40)
      await kill()
      disconnect()
      await start()
      await write(30)
      await connectAll(watches)
      await write(30)
      await settled(watches)
    }
    // One of ten listens no more while more happens than is remembered.
    disconnect()
    const away = watches.filter((_, i) => i % 10 === 0)
    const present = watches.filter((_, i) => i % 10 !== 0)
    await connectAll(present)
    await write(2600)
    await settled(present)
    await connectAll(away)
    await sleep(500)
    const now = await revision()
    for (const w of away) {
      // Who heard of something late enough may go on.
      if (!w.gone) continue
      w.gaps.push([w.revision, now])
      w.revision = now
    }
    const gone = away.filter((w) => w.gone)
    assert.ok(gone.length > 0, 'somebody is told 410')
    await connectAll(gone)
    await write(60)
    await settled(watches)
    for (const [i, w] of watches.entries()) assert.deepEqual(w.told, expected(w), `watch ${i}: ${w.path}`)
    console.log(
      `${watches.reduce((sum, w) => sum + w.told.length, 0)} events told, ${gone.length} watches told 410; server: ${opened.toFixed(0)} MB with all watches open, ${residentMb().toFixed(0)} MB at the end`,
    )
    assert.ok(residentMb() < 400 + WATCHES * 0.1, `the server takes ${residentMb()} MB`)
  } finally {
    for (const session of sessions) session.destroy()
    server?.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  }
})
