// HTTP/1.1 as clients may send it: cut anywhere, several at once, and all that is handed to Node's own server.

import assert from 'node:assert/strict'
import http2 from 'node:http2'
import { test } from 'node:test'
import { connect, type TLSSocket } from 'node:tls'
import { gunzipSync } from 'node:zlib'
import { call, startApi, type TestApi } from '#kit'

const MAPS = '/api/v1/namespaces/default/configmaps'

/** A connection that collects what comes. */
async function dial(
  api: TestApi,
): Promise<{ socket: TLSSocket; text: () => string; until: (what: RegExp) => Promise<string> }> {
  let text = ''
  const socket = connect({
    port: api.port,
    host: '127.0.0.1',
    ca: api.ca.cert,
    cert: api.admin.cert,
    key: api.admin.key,
  })
  socket.on('data', (d) => (text += d))
  socket.on('error', () => {})
  await new Promise<void>((resolve) => socket.once('secureConnect', () => resolve()))
  const until = async (what: RegExp) => {
    const end = Date.now() + 3000
    while (!what.test(text)) {
      assert.ok(Date.now() < end, `${what} did not come: ${text.slice(0, 1000)}`)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
    return text
  }
  return { socket, text: () => text, until }
}

const create = (name: string, more = '') => {
  const body = JSON.stringify({ metadata: { name } })
  return `POST ${MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n${more}\r\n${body}`
}
const statuses = (text: string) => [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map((m) => m[1])

test('a request may come in any pieces', async () => {
  await using api = await startApi()
  const bytes = create('pieces')
  const { socket, until } = await dial(api)
  for (const byte of bytes) {
    socket.write(byte)
    await new Promise((resolve) => setImmediate(resolve))
  }
  await until(/201 Created[\s\S]*"name":"pieces"/)
  socket.destroy()
})

test('requests sent together are answered in order', async () => {
  await using api = await startApi()
  const { socket, until } = await dial(api)
  const names = Array.from({ length: 20 }, (_, i) => `m-${i}`)
  socket.write(`${names.map((n) => create(n)).join('')}GET ${MAPS}/m-19 HTTP/1.1\r\nHost: x\r\n\r\n`)
  const text = await until(/200 OK[\s\S]*"name":"m-19"[^\n]*}$/)
  assert.deepEqual(statuses(text), [...names.map(() => '201'), '200'])
  let at = 0
  for (const n of names) {
    at = text.indexOf(`"name":"${n}"`, at)
    assert.ok(at > 0, n)
  }
  socket.destroy()
})

test('after plain requests the same connection takes a watch, a chunked body and an early answer', async () => {
  await using api = await startApi()
  const { socket, until } = await dial(api)
  socket.write(create('first'))
  await until(/201 Created/)
  const body = JSON.stringify({ metadata: { name: 'chunked' } })
  socket.write(
    `POST ${MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`,
  )
  await until(/201 Created[\s\S]*201 Created[\s\S]*"name":"chunked"/)
  socket.write(`GET ${MAPS}?watch=1 HTTP/1.1\r\nHost: x\r\n\r\n`)
  await until(/"type":"ADDED"[\s\S]*"name":"first"/)
  const other = await dial(api)
  other.socket.write(create('later'))
  await until(/"type":"ADDED"[^\n]*"name":"later"/)
  socket.destroy()
  other.socket.destroy()
})

test('bodies beyond the short way, waiting ones, and those beyond the limit', async () => {
  await using api = await startApi()
  const large = (size: number) => JSON.stringify({ metadata: { name: `large-${size}` }, data: { a: 'x'.repeat(size) } })
  for (const size of [60_000, 200_000, 900_000]) {
    const { socket, until } = await dial(api)
    const body = large(size)
    socket.write(
      `POST ${MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    await until(/201 Created/)
    socket.destroy()
  }
  const waiting = await dial(api)
  waiting.socket.write(`${create('waits', 'Expect: 100-continue\r\n').split('\r\n\r\n')[0]!}\r\n\r\n`)
  await waiting.until(/100 Continue/)
  waiting.socket.destroy()
  const beyond = await dial(api)
  beyond.socket.write(
    `POST ${MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9000000\r\n\r\n{`,
  )
  await beyond.until(/413 Payload Too Large[\s\S]*limit is 3145728/)
  beyond.socket.destroy()
})

for (const [what, head] of [
  ['no host', `GET ${MAPS} HTTP/1.1\r\n\r\n`],
  ['a folded field', `GET ${MAPS} HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n`],
  ['white space before the colon', `GET ${MAPS} HTTP/1.1\r\nHost : x\r\n\r\n`],
  ['two lengths', `POST ${MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}`],
  [
    'length and chunks',
    `POST ${MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  ],
  ['a length that is none', `POST ${MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: -2\r\n\r\n{}`],
  ['noise', 'GET\r\n\r\n'],
] as const)
  test(`what is no proper request is refused: ${what}`, async () => {
    await using api = await startApi()
    const { socket, until, text } = await dial(api)
    socket.write(head)
    await until(/HTTP\/1\.1 400/)
    assert.equal(statuses(text()).length, 1)
    socket.destroy()
  })

test('a connection asked to close closes, and one of HTTP/1.0 too', async () => {
  await using api = await startApi()
  for (const head of [`GET ${MAPS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`, `GET ${MAPS} HTTP/1.0\r\n\r\n`]) {
    const { socket, until } = await dial(api)
    const closed = new Promise<void>((resolve) => socket.once('end', () => resolve()))
    socket.write(head)
    await until(/200 OK/)
    await closed
    socket.destroy()
  }
})

test('a long list goes out in pieces as it is read: whole, in order, and others are answered meanwhile', async () => {
  await using api = await startApi()
  const names = Array.from({ length: 300 }, (_, i) => `long-${String(i).padStart(4, '0')}`)
  // Every one is told from the others, and one is longer than a piece.
  const texts = names.map((name, i) => name.repeat(i === 150 ? 40_000 : 5000 + i * 7))
  await Promise.all(names.map((name, i) => call(api, 'POST', MAPS, { metadata: { name }, data: { text: texts[i] } })))
  const { socket } = await dial(api)
  socket.pause()
  socket.write(`GET ${MAPS} HTTP/1.1\r\nHost: x\r\n\r\nGET ${MAPS}/long-0007 HTTP/1.1\r\nHost: x\r\n\r\n`)
  // Nobody reads the list; all else goes on, and what it shows is the state at its beginning.
  for (const name of names.slice(0, 20)) assert.equal((await call(api, 'DELETE', `${MAPS}/${name}`)).status, 200)
  const chunks: Buffer[] = []
  const done = new Promise<void>((resolve) => {
    let tail = ''
    socket.removeAllListeners('data').resume()
    socket.on('data', (d) => {
      chunks.push(d)
      tail = (tail + d.toString('latin1')).slice(-1000)
      if (/404 Not Found[\s\S]*}$/.test(tail)) resolve()
    })
  })
  await done
  const whole = Buffer.concat(chunks)
  const head = whole.indexOf('\r\n\r\n') + 4
  const length = Number(/Content-Length: (\d+)/.exec(whole.toString('latin1', 0, head))![1])
  const list = JSON.parse(whole.toString('utf8', head, head + length))
  assert.deepEqual(
    list.items.map((o: { metadata: { name: string } }) => o.metadata.name),
    names,
  )
  assert.ok(list.items.every((o: { data: { text: string } }, i: number) => o.data.text === texts[i]))
  assert.match(whole.toString('latin1', head + length), /^HTTP\/1\.1 404 Not Found/)
  socket.destroy()

  // A reader that goes in the midst of it costs nobody anything.
  const gone = await dial(api)
  gone.socket.pause()
  gone.socket.write(`GET ${MAPS} HTTP/1.1\r\nHost: x\r\n\r\n`)
  await call(api, 'GET', `${MAPS}/long-0250`)
  gone.socket.destroy()
  assert.equal((await call(api, 'GET', MAPS)).body.items.length, 280)

  // By HTTP/2, and compressed, it is the same.
  const session = http2.connect(`https://127.0.0.1:${api.port}`, {
    ca: api.ca.cert,
    cert: api.admin.cert,
    key: api.admin.key,
  })
  for (const encoding of ['identity', 'gzip']) {
    const stream = session.request({ ':path': MAPS, 'accept-encoding': encoding })
    const body = Buffer.concat(await Array.fromAsync(stream as AsyncIterable<Buffer>))
    const { items } = JSON.parse((encoding === 'gzip' ? gunzipSync(body) : body).toString())
    assert.deepEqual(
      items.map((o: { data: { text: string } }) => o.data.text),
      texts.slice(20),
    )
  }
  session.close()
})

test('pages of a list begin where the last ended, at one state, and say how many are left', async () => {
  await using api = await startApi()
  const names = Array.from({ length: 25 }, (_, i) => `page-${String(i).padStart(2, '0')}`)
  for (const name of names)
    await call(api, 'POST', MAPS, { metadata: { name, labels: { odd: String(Number(name.slice(5)) % 2) } } })
  for (const selector of ['', '&labelSelector=odd%3D1']) {
    const seen: string[] = []
    let next = ''
    do {
      const { body } = await call(api, 'GET', `${MAPS}?limit=10${selector}${next && `&continue=${next}`}`)
      seen.push(...body.items.map((o: { metadata: { name: string } }) => o.metadata.name))
      next = body.metadata.continue ?? ''
      const left = next && !selector ? names.length - seen.length : undefined
      assert.equal(body.metadata.remainingItemCount, left)
      // What is written between the pages is not in them.
      await call(api, 'POST', MAPS, { metadata: { name: `zz-${seen.length}-${selector.length}` } })
    } while (next)
    const now = selector ? names.filter((n) => Number(n.slice(5)) % 2 === 1) : names
    assert.deepEqual(seen, now)
  }
})

test('a watch that has ended sends nothing more, however late its reader takes the end', async () => {
  // Events went to the connection itself, behind the last chunk, where the next answer begins.
  await using api = await startApi()
  const text = 'x'.repeat(500_000)
  await call(api, 'POST', MAPS, { metadata: { name: 'big' }, data: { text } })
  const { socket } = await dial(api)
  socket.write(`GET ${MAPS}?watch=1&resourceVersion=0&timeoutSeconds=60 HTTP/1.1\r\nHost: x\r\n\r\n`)
  await new Promise((resolve) => socket.once('data', resolve))
  socket.pause()
  const patch = (n: number) =>
    call(api, 'PATCH', `${MAPS}/big`, { data: { n: `${n}` } }, { type: 'application/merge-patch+json' })
  // More than the connection takes while nobody reads.
  for (let i = 0; i < 16; i++) assert.equal((await patch(i)).status, 200)
  await api.clock.advance(60_000)
  for (let i = 16; i < 20; i++) assert.equal((await patch(i)).status, 200)
  const chunks: Buffer[] = []
  socket.removeAllListeners('data').resume()
  const ended = new Promise<void>((resolve) => {
    let tail = ''
    socket.on('data', (d) => {
      chunks.push(d)
      tail = (tail + d.toString('latin1')).slice(-20)
      if (tail.includes('\r\n0\r\n\r\n')) resolve()
    })
  })
  await ended
  socket.write(`GET ${MAPS}/none HTTP/1.1\r\nHost: x\r\n\r\n`)
  await new Promise((resolve) => socket.once('data', resolve))
  const whole = Buffer.concat(chunks).toString('latin1')
  assert.match(whole.slice(whole.indexOf('\r\n0\r\n\r\n')), /^\r\n0\r\n\r\nHTTP\/1\.1 404 /)
  socket.destroy()
})
