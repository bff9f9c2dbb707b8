import assert from 'node:assert/strict'
import { test } from 'node:test'
import { H1Error, H1Parser } from '#wire'

/** Everything a parser says of a byte stream, fed in pieces of the given size. */
function parse(text: string, step: number, kind: 'request' | 'response' = 'request'): string[] {
  const said: string[] = []
  let body = ''
  const parser = new H1Parser(kind, {
    onHead: (head) =>
      said.push(`${head.method || head.status} ${head.target} ${head.host ?? ''} ${head.fields.join('|')}`),
    onData: (data) => {
      body += data.toString()
    },
    onEnd: (trailers) => {
      said.push(`end ${body} ${trailers?.join('|') ?? ''}`.trim())
      body = ''
      queueMicrotask(() => {})
    },
  })
  const bytes = Buffer.from(text)
  for (let i = 0; i < bytes.length; i += step) {
    parser.push(bytes.subarray(i, i + step))
    if (said.at(-1)?.startsWith('end')) parser.next()
  }
  return said
}

const chunked =
  'POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4;ext=1;b; c = "d \\" e"\r\nWiki\r\n5\r\npedia\r\n0\r\nX-Sum: 9\r\n\r\n'
const sized = 'PUT /b?q=1 HTTP/1.1\r\nhost: y\r\ncontent-length: 5\r\n\r\nhello'

test('H1Parser reads the same at every split of the bytes', () => {
  const whole = [...parse(chunked, 10_000), ...parse(sized, 10_000)]
  assert.deepEqual(whole, ['POST /a x ', 'end Wikipedia x-sum|9', 'PUT /b?q=1 y content-length|5', 'end hello'])
  for (let step = 1; step <= Math.max(chunked.length, sized.length); step++)
    assert.deepEqual([...parse(chunked, step), ...parse(sized, step)], whole, `pieces of ${step}`)
})

test('H1Parser refuses what could be read in two ways', () => {
  const head = 'POST / HTTP/1.1\r\nHost: x\r\n'
  const cases: Record<string, string> = {
    'length and chunked': `${head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`,
    'two lengths': `${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\n`,
    'signed length': `${head}Content-Length: +5\r\n\r\n`,
    'space before the colon': `${head}Content-Length : 5\r\n\r\n`,
    'folded field': `${head}A: b\r\n c\r\n\r\n`,
    'other encoding': `${head}Transfer-Encoding: gzip, chunked\r\n\r\n`,
    'chunked in HTTP/1.0': 'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n',
    'bad chunk size': `${head}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n`,
    'long chunk': `${head}Transfer-Encoding: chunked\r\n\r\n3\r\nhello\r\n0\r\n\r\n`,
    'equal lengths twice': `${head}Content-Length: 5\r\nContent-Length: 5\r\n\r\n`,
    'a list of lengths': `${head}Content-Length: 5, 5\r\n\r\n`,
    'hexadecimal length': `${head}Content-Length: 0x5\r\n\r\n`,
    'length with a space in it': `${head}Content-Length: 1 0\r\n\r\n`,
    'length larger than numbers are': `${head}Content-Length: 99999999999999999999\r\n\r\n`,
    'chunked twice': `${head}Transfer-Encoding: chunked, chunked\r\n\r\n`,
    'two transfer encodings': `${head}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`,
    'encoding in quotes': `${head}Transfer-Encoding: "chunked"\r\n\r\n`,
    'encoding after a vertical tab': `${head}Transfer-Encoding: \vchunked\r\n\r\n`,
    'encoding that begins alike': `${head}Transfer-Encoding: chunkedx\r\n\r\n`,
    'tab before the colon': `${head}Transfer-Encoding\t: chunked\r\n\r\n`,
    'null in a name': `${head}Transfer-Encoding\0: chunked\r\n\r\n`,
    'folded encoding': `${head}Transfer-Encoding:\r\n chunked\r\n\r\n`,
    'line ends with LF': `${head}A: b\nContent-Length: 5\r\n\r\n`,
    'bare CR in a value': `${head}A: b\rContent-Length: 5\r\n\r\n`,
    'all lines end with LF': 'GET / HTTP/1.1\nHost: x\n\n',
    'space before the first field': 'GET / HTTP/1.1\r\n Host: x\r\n\r\n',
    'empty name': `${head}: b\r\n\r\n`,
    'no colon': `${head}abc\r\n\r\n`,
    'two hosts': `${head}Host: y\r\n\r\n`,
    'two spaces in the request line': 'GET  / HTTP/1.1\r\nHost: x\r\n\r\n',
    'tab in the request line': 'GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n',
    'space in the target': 'GET /a b HTTP/1.1\r\nHost: x\r\n\r\n',
    'no version': 'GET /\r\nHost: x\r\n\r\n',
    'version in lower case': 'GET / http/1.1\r\nHost: x\r\n\r\n',
    'another version': 'GET / HTTP/2.0\r\nHost: x\r\n\r\n',
    'a target beyond ASCII': 'GET /\u00e9 HTTP/1.1\r\nHost: x\r\n\r\n',
    'a method with a bracket': 'G[T / HTTP/1.1\r\nHost: x\r\n\r\n',
    'a chunk extension without a name': `${head}Transfer-Encoding: chunked\r\n\r\n5;\r\nhello\r\n0\r\n\r\n`,
    'a quote that does not end': `${head}Transfer-Encoding: chunked\r\n\r\n5;a="b\r\nhello\r\n0\r\n\r\n`,
    'an extension after a value': `${head}Transfer-Encoding: chunked\r\n\r\n5;a=b c\r\nhello\r\n0\r\n\r\n`,
    'chunk size with a sign': `${head}Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n`,
    'chunk size with a space before': `${head}Transfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n`,
    'chunk size with a space behind': `${head}Transfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n`,
    'chunk size of 17 digits': `${head}Transfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n`,
    'empty chunk size': `${head}Transfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n`,
    'chunk size that ends with LF': `${head}Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n`,
    'extension with a bare CR': `${head}Transfer-Encoding: chunked\r\n\r\n5;a=\rb\r\nhello\r\n0\r\n\r\n`,
    'chunk that ends with LF': `${head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n`,
    'bad trailer': `${head}Transfer-Encoding: chunked\r\n\r\n0\r\na b: c\r\n\r\n`,
    'connection names the host': `${head}Connection: host\r\n\r\n`,
    'null in a value': `${head}A: b\0c\r\n\r\n`,
  }
  for (const [name, text] of Object.entries(cases))
    for (const step of [10_000, 1, 7]) assert.throws(() => parse(text, step), H1Error, `${name}, pieces of ${step}`)
})

test('H1Parser limits the head', () => {
  const error = (text: string) => {
    try {
      parse(text, 1000)
    } catch (e) {
      return (e as H1Error).status
    }
  }
  assert.equal(error(`GET / HTTP/1.1\r\nHost: ${'x'.repeat(70_000)}`), 431)
  assert.equal(error(`GET / HTTP/1.1\r\n${'a: b\r\n'.repeat(101)}\r\n`), 431)
})

test('H1Parser reads a response without a length until the connection closes', () => {
  assert.deepEqual(parse('HTTP/1.1 204 No Content\r\nA: b\r\n\r\n', 1, 'response'), ['204   a|b', 'end'])
})

test('H1Parser passes over an empty line before a message, and keeps fields of the connection to itself', () => {
  assert.deepEqual(
    parse('HTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno', 1, 'response'),
    ['100   ', 'end', '404   content-length|2', 'end no'],
  )
  assert.deepEqual(
    parse('\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nX-Own: 2\r\n\r\n', 1),
    ['GET / x x-own|2', 'end'],
  )
})

test('H1Parser limits the extensions of chunks', () => {
  const chunk = `1;${'x'.repeat(1000)}\r\na\r\n`
  const text = `POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunk.repeat(20)}0\r\n\r\n`
  assert.throws(() => parse(text, 10_000), /too many chunk extensions/)
})

test('H1Parser gives each message buffers of its own: what was delivered does not change', () => {
  const got: Buffer[] = []
  const parser = new H1Parser('request', { onHead() {}, onData: (d) => got.push(d), onEnd: () => parser.next() })
  const one = Buffer.from(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd`)
  // All bytes come in one block, which is another's as soon as they have been taken.
  const block = Buffer.alloc(16)
  for (const step of [1, 7, 16])
    for (let i = 0; i < 50; i++)
      for (let at = 0; at < one.length; at += step) {
        parser.push(block.subarray(0, one.copy(block, 0, at, at + step)))
        block.fill('#')
      }
  assert.equal(Buffer.concat(got).toString(), 'abcd'.repeat(150))
})
