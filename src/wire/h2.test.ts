// HTTP/2 against Node's own (nghttp2), in both roles, and against peers that break the rules.

import assert from 'node:assert/strict'
import http2 from 'node:http2'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { test } from 'node:test'
import { H2Code, H2Session, type H2SessionEvents, HpackDecoder, HpackEncoder, Output, PREFACE, readBytes } from '#wire'
import { frame, numberFrame, settingsFrame } from './h2-frames.ts'

/** A server of our own on a free port; each request is answered by `answer`. */
async function ourServer(onRequest: NonNullable<H2SessionEvents['onRequest']>) {
  const sockets = new Set<Socket>()
  const errors: string[] = []
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    const output = new Output(socket)
    const session = new H2Session('server', output, {
      onRequest,
      onEnd: (error) => {
        if (error) errors.push(error.message)
        output.end()
      },
    })
    readBytes(socket, (data) => session.push(data))
    socket.on('close', () => session.end())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    errors,
    [Symbol.dispose]() {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

const body = Buffer.alloc(700_000, 'abcdefghij')

test('HpackDecoder reads what HpackEncoder writes, over many blocks', () => {
  const encoder = new HpackEncoder()
  const decoder = new HpackDecoder()
  let seed = 7
  const random = (n: number) => {
    seed = (seed * 1_103_515_245 + 12_345) & 0x7fff_ffff
    return seed % n
  }
  for (let i = 0; i < 2000; i++) {
    const fields = [':method', random(2) ? 'GET' : 'PUT', ':path', `/${random(1000)}`]
    for (let n = random(12); n > 0; n--) fields.push(`x-${random(30)}`, 'v'.repeat(random(300)) + random(9))
    if (random(50) === 0) encoder.limit = [0, 200, 4096][random(3)]!
    assert.deepEqual(decoder.decode(Buffer.from(encoder.encode(fields)), 100_000), fields, `block ${i}`)
  }
})

test('H2Session serves a client of nghttp2: bodies, trailers, many streams', async () => {
  using server = await ourServer((stream, fields) => {
    const parts: Buffer[] = []
    const answer = (trailers?: string[]) => {
      stream.head([':status', '200', 'x-path', fields[fields.indexOf(':path') + 1]!], false)
      for (const part of parts) stream.data(part)
      stream.end(trailers ? ['x-got', trailers[1]!] : ['x-sum', String(parts.reduce((n, p) => n + p.length, 0))])
    }
    stream.events = { onData: (d) => parts.push(d), onEnd: answer, onReset() {}, onDrain() {} }
    if (stream.remoteEnded) answer()
  })
  const client = http2.connect(`http://127.0.0.1:${server.port}`, { maxSessionMemory: 100 })
  const ask = (path: string, text?: Buffer, trailers?: http2.OutgoingHttpHeaders) =>
    new Promise<{ path: unknown; length: number; trailers: http2.IncomingHttpHeaders }>((resolve, reject) => {
      const stream = client.request(
        { ':path': path, ':method': text ? 'POST' : 'GET' },
        { endStream: !text, waitForTrailers: true },
      )
      let length = 0
      let seen: http2.IncomingHttpHeaders = {}
      let got: unknown
      stream.on('wantTrailers', () => stream.sendTrailers(trailers ?? {}))
      stream.on('response', (h) => {
        got = h['x-path']
      })
      stream.on('trailers', (h) => {
        seen = h
      })
      stream.on('data', (d) => {
        length += d.length
      })
      stream.on('end', () => setImmediate(() => resolve({ path: got, length, trailers: seen })))
      stream.on('error', reject)
      if (text) stream.end(text)
    })
  const all = await Promise.all(Array.from({ length: 60 }, (_, i) => ask(`/${i}`, i % 3 === 0 ? body : undefined)))
  for (const [i, { path, length, trailers }] of all.entries()) {
    assert.equal(path, `/${i}`)
    assert.equal(length, i % 3 === 0 ? body.length : 0)
    assert.equal(trailers['x-sum'], String(length))
  }
  assert.equal((await ask('/t', Buffer.from('x'), { 'x-mine': 'yes' })).trailers['x-got'], 'yes')
  client.close()
  assert.deepEqual(server.errors, [])
})

test('H2Session asks a server of nghttp2: bodies, trailers, refusals', async () => {
  const server = http2.createServer()
  server.on('stream', (stream, headers) => {
    stream.on('error', () => {})
    if (headers[':path'] === '/reset') return stream.close(http2.constants.NGHTTP2_REFUSED_STREAM)
    stream.respond({ ':status': 200 }, { waitForTrailers: true })
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
    stream.pipe(stream)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const socket = connect((server.address() as AddressInfo).port, '127.0.0.1')
  const session = new H2Session('client', new Output(socket), { onEnd: () => socket.end() })
  socket.on('data', (data: Buffer) => session.push(data))
  const head = (path: string) => [':method', 'POST', ':scheme', 'http', ':path', path, ':authority', 'x']
  const ask = (path: string) =>
    new Promise<string>((resolve) => {
      let length = 0
      const stream = session.request(head(path), false, {
        onData: (d) => {
          length += d.length
        },
        onEnd: (trailers) => resolve(`${length} ${trailers}`),
        onReset: (code, refused) => resolve(`reset ${code} ${refused}`),
        onDrain() {},
      })
      stream.data(body)
      stream.end()
    })
  assert.deepEqual(await Promise.all([ask('/a'), ask('/b'), ask('/reset')]), [
    `${body.length} grpc-status,0`,
    `${body.length} grpc-status,0`,
    'reset 7 true',
  ])
  session.close()
  server.close()
})

test('H2Session ends a connection whose peer breaks the protocol or wears it out', async () => {
  using server = await ourServer((stream) => {
    stream.events = { onData() {}, onEnd() {}, onReset() {}, onDrain() {} }
  })
  const encoder = () => new HpackEncoder()
  const head = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'x']
  const open = (id: number, e: HpackEncoder, flags = 5) => frame(1, flags, id, e.encode(head))
  /** The code of the goaway, or of the reset, that such bytes are answered with. */
  const told = (frames: (e: HpackEncoder) => Buffer[], settings = true) =>
    new Promise<string>((resolve) => {
      const socket = connect(server.port, '127.0.0.1')
      let text = Buffer.alloc(0)
      let said = 'nothing'
      socket.on('error', () => {})
      socket.on('data', (data: Buffer) => {
        text = Buffer.concat([text, data])
        while (text.length >= 9 && text.length >= 9 + text.readUIntBE(0, 3)) {
          const length = text.readUIntBE(0, 3)
          if (text[3] === 7) said = `goaway ${text.readUInt32BE(13)}`
          if (text[3] === 3 && said === 'nothing') said = `reset ${text.readUInt32BE(9)}`
          if (text[3] === 6 && said !== 'nothing') socket.end()
          text = text.subarray(9 + length)
        }
      })
      socket.on('close', () => resolve(said))
      socket.write(Buffer.concat([PREFACE, ...(settings ? [settingsFrame([])] : []), ...frames(encoder())]))
      socket.write(frame(6, 0, 0, Buffer.alloc(8)))
    })
  const field = (name: string, value: string) => (e: HpackEncoder) => [frame(1, 5, 1, e.encode([...head, name, value]))]
  const cases: Record<string, [(e: HpackEncoder) => Buffer[], string]> = {
    'a frame that is too large': [() => [Buffer.from([1, 0, 0, 0, 0, 0, 0, 0, 1])], `goaway ${H2Code.frameSize}`],
    'data on no stream': [() => [frame(0, 0, 0, Buffer.alloc(1))], `goaway ${H2Code.protocol}`],
    'data on a stream never opened': [() => [frame(0, 0, 5, Buffer.alloc(1))], `goaway ${H2Code.protocol}`],
    'an even stream': [(e) => [open(2, e)], `goaway ${H2Code.protocol}`],
    'a block interrupted': [(e) => [open(1, e, 1), frame(6, 0, 0, Buffer.alloc(8))], `goaway ${H2Code.protocol}`],
    'a bad index': [() => [frame(1, 5, 1, Buffer.from([0xff, 0xff, 0x03]))], `goaway ${H2Code.compression}`],
    'a window of nothing': [() => [numberFrame(8, 0, 0)], `goaway ${H2Code.protocol}`],
    'a window overflown': [() => [numberFrame(8, 0, 0x7fff_ffff)], `goaway ${H2Code.flowControl}`],
    'a push': [() => [frame(5, 4, 1, Buffer.alloc(4))], `goaway ${H2Code.protocol}`],
    'an upper-case name': [field('X-A', 'b'), `reset ${H2Code.protocol}`],
    'a field of the connection': [field('transfer-encoding', 'chunked'), `reset ${H2Code.protocol}`],
    'a line break in a value': [field('x-a', 'b\r\nhost: y'), `reset ${H2Code.protocol}`],
    'a length without a body': [field('content-length', '5'), `reset ${H2Code.protocol}`],
    'two lengths': [
      (e) => [frame(1, 4, 1, e.encode([...head, 'content-length', '1', 'content-length', '1']))],
      `reset ${H2Code.protocol}`,
    ],
    'a body longer than its length': [
      (e) => [frame(1, 4, 1, e.encode([...head, 'content-length', '1'])), frame(0, 1, 1, Buffer.alloc(2))],
      `reset ${H2Code.protocol}`,
    ],
    'streams reset at once': [
      (e) => Array.from({ length: 2000 }, (_, i) => [open(i * 2 + 1, e), numberFrame(3, i * 2 + 1, 8)]).flat(),
      `goaway ${H2Code.enhanceYourCalm}`,
    ],
    'a flood of settings': [
      () => Array.from({ length: 5000 }, () => settingsFrame([])),
      `goaway ${H2Code.enhanceYourCalm}`,
    ],
    'a flood of pings': [
      () => Array.from({ length: 5000 }, () => frame(6, 0, 0, Buffer.alloc(8))),
      `goaway ${H2Code.enhanceYourCalm}`,
    ],
    'a flood of continuations': [
      (e) => [open(1, e, 1), ...Array.from({ length: 200 }, () => frame(9, 0, 1, Buffer.from([0, 1, 120, 1, 121])))],
      `goaway ${H2Code.enhanceYourCalm}`,
    ],
    'a flood of empty data': [
      (e) => [open(1, e, 4), ...Array.from({ length: 5000 }, () => frame(0, 0, 1, Buffer.alloc(0)))],
      `goaway ${H2Code.enhanceYourCalm}`,
    ],
  }
  for (const [name, [frames, expected]] of Object.entries(cases)) assert.equal(await told(frames), expected, name)
  assert.equal(await told((e) => [open(1, e)], false), `goaway ${H2Code.protocol}`, 'no settings')
})

test('H2Session does not take more of a body than its window while it is not read', async () => {
  let got = 0
  using server = await ourServer((stream) => {
    stream.pause()
    stream.events = {
      onData: (d) => {
        got += d.length
        if (got === 256 * 1024) setImmediate(() => stream.resume())
      },
      onEnd: () => {
        stream.head([':status', '200'], false)
        stream.end()
      },
      onReset() {},
      onDrain() {},
    }
  })
  const client = http2.connect(`http://127.0.0.1:${server.port}`, { maxSessionMemory: 100 })
  const stream = client.request({ ':method': 'POST', ':path': '/' })
  stream.end(body)
  await new Promise((resolve) => stream.on('response', resolve))
  assert.equal(got, body.length)
  client.destroy()
})

// The last word came at once: requests that were on their way were refused.
test('H2Session serves what was on its way when it was closed', async () => {
  let session: H2Session | undefined
  const paths: string[] = []
  using server = await ourServer((stream, fields) => {
    paths.push(fields[fields.indexOf(':path') + 1]!)
    session = stream.session
    if (paths.length === 1) session.close()
    stream.head([':status', '200'], true)
  })
  const socket = connect(server.port, '127.0.0.1')
  const encoder = new HpackEncoder()
  const open = (id: number, path: string) =>
    frame(1, 5, id, encoder.encode([':method', 'GET', ':scheme', 'http', ':path', path, ':authority', 'x']))
  let text = Buffer.alloc(0)
  const lasts: number[] = []
  socket.on('data', (data: Buffer) => {
    text = Buffer.concat([text, data])
    while (text.length >= 9 && text.length >= 9 + text.readUIntBE(0, 3)) {
      if (text[3] === 7) {
        lasts.push(text.readUInt32BE(9))
        // This one was sent before the warning was read; the answer to the ping comes after it.
        if (lasts.length === 1) socket.write(open(3, '/second'))
      }
      if (text[3] === 6 && (text[4]! & 1) === 0) socket.write(frame(6, 1, 0, text.subarray(9, 17)))
      text = text.subarray(9 + text.readUIntBE(0, 3))
    }
  })
  socket.write(Buffer.concat([PREFACE, settingsFrame([]), open(1, '/first')]))
  await new Promise((resolve) => socket.once('close', resolve))
  assert.deepEqual(paths, ['/first', '/second'])
  assert.deepEqual(lasts, [0x7fff_ffff, 3])
})

// Fifty requests a second given up by their clients ended the connection of all the others.
test('H2Session bears many requests that are given up while they are answered', async () => {
  let answered = 0
  using server = await ourServer((stream) => {
    stream.events = { onData() {}, onEnd() {}, onReset() {}, onDrain() {} }
    stream.head([':status', '200'], false)
    answered++
  })
  const client = http2.connect(`http://127.0.0.1:${server.port}`)
  for (let i = 0; i < 1000; i++) {
    const stream = client.request({ ':path': '/' })
    stream.on('error', () => {})
    await new Promise((resolve) => stream.once('response', resolve))
    stream.close(http2.constants.NGHTTP2_CANCEL)
  }
  assert.equal(answered, 1000)
  assert.deepEqual(server.errors, [])
  client.destroy()
})

test('H2Session keeps what it was given when its bytes become another’s: all connections are read into one block', () => {
  const block = new HpackEncoder().encode([':method', 'POST', ':scheme', 'http', ':path', '/a', ':authority', 'b'])
  const bytes = Buffer.concat([
    PREFACE,
    settingsFrame([]),
    frame(1, 0, 1, block.subarray(0, 3)),
    frame(9, 4, 1, block.subarray(3)),
    frame(0, 0, 1, Buffer.from('hello, ')),
    frame(0, 1, 1, Buffer.from('world')),
  ])
  for (const step of [1, 5, 40, 1000]) {
    const told: string[] = []
    const got: Buffer[] = []
    const session = new H2Session('server', new Output(new PassThrough()), {
      onRequest(stream, fields) {
        told.push(...fields)
        stream.events = { onData: (data) => got.push(data), onEnd: () => told.push('end'), onReset() {}, onDrain() {} }
      },
      onEnd: (error) => assert.equal(error, undefined),
    })
    const read = Buffer.alloc(step)
    for (let at = 0; at < bytes.length; at += step) {
      session.push(read.subarray(0, bytes.copy(read, 0, at, at + step)))
      read.fill('#')
    }
    assert.deepEqual(told, [':method', 'POST', ':scheme', 'http', ':path', '/a', ':authority', 'b', 'end'])
    assert.equal(Buffer.concat(got).toString(), 'hello, world')
    session.end()
  }
})
