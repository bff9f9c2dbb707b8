// The name asked for in a real ClientHello, whole and in pieces, and bytes that are none.

import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import { test } from 'node:test'
import { connect } from 'node:tls'
import { readClientHello } from '#wire'

/** What Node's TLS client says first. */
function helloOf(servername: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const server = createServer((socket) =>
      socket.once('data', (data: Buffer) => {
        socket.destroy()
        server.close()
        resolve(data)
      }),
    )
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { port: number }
      connect({ port, host: '127.0.0.1', servername, ALPNProtocols: ['h2', 'istio'] }).on('error', () => {})
    })
    server.on('error', reject)
  })
}

test('the server name is read, and more bytes are asked for until it is there', async () => {
  const hello = await helloOf('Shop.Example.com')
  assert.deepEqual(readClientHello(hello), { serverName: 'shop.example.com', alpn: ['h2', 'istio'] })
  for (const length of [0, 1, 5, 40, hello.length - 1]) assert.equal(readClientHello(hello.subarray(0, length)), 'more')
})

test('what is not TLS, or lies about its lengths, is none', async () => {
  assert.equal(readClientHello(Buffer.from('GET / HTTP/1.1\r\n')), 'none')
  const hello = Buffer.from(await helloOf('a.example.com'))
  hello[43] = 255 // the session id's length
  const read = readClientHello(hello)
  assert.ok(read === 'none' || (typeof read === 'object' && read.serverName !== 'a.example.com'))
})
