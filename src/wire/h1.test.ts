import assert from 'node:assert/strict'
import { test } from 'node:test'
import { H1Error, H1Parser } from '#wire'

/** Everything a parser says of a byte stream, fed in pieces of the given size. */
function parse(text: string, step: number, kind: 'request' | 'response' = 'request'): string[] {
  const said: string[] = []
  let body = ''
  const parser = new H1Parser(kind, {
    onHead: (head) => said.push(`${head.method || head.status} ${head.target} ${head.fields.join('|')}`),
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
  'POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4;ext=1\r\nWiki\r\n5\r\npedia\r\n0\r\nX-Sum: 9\r\n\r\n'
const sized = 'PUT /b?q=1 HTTP/1.1\r\nhost: y\r\ncontent-length: 5\r\n\r\nhello'

test('H1Parser reads the same at every split of the bytes', () => {
  const whole = [...parse(chunked, 10_000), ...parse(sized, 10_000)]
  assert.deepEqual(whole, [
    'POST /a host|x|transfer-encoding|chunked',
    'end Wikipedia x-sum|9',
    'PUT /b?q=1 host|y|content-length|5',
    'end hello',
  ])
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
    'lower-case method': 'get / HTTP/1.1\r\nHost: x\r\n\r\n',
    'null in a value': `${head}A: b\0c\r\n\r\n`,
  }
  for (const [name, text] of Object.entries(cases)) assert.throws(() => parse(text, 10_000), H1Error, name)
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
  assert.deepEqual(parse('HTTP/1.1 204 No Content\r\nA: b\r\n\r\n', 1, 'response'), ['204  a|b', 'end'])
})
