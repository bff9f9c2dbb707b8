// k8s-combat: an HTTP front on 8081 that calls a gRPC greeter, and that greeter on 50051.
import http from 'node:http'
import http2 from 'node:http2'
import os from 'node:os'

const METHOD = '/helloworld.Greeter/SayHello'
const hostname = os.hostname()

/** A protobuf message with one string field, number 1, and back. */
const encode = (text) => {
  const bytes = Buffer.from(text)
  const length = []
  let rest = bytes.length
  do {
    length.push((rest & 127) | (rest > 127 ? 128 : 0))
    rest >>>= 7
  } while (rest > 0)
  return Buffer.concat([Buffer.from([10, ...length]), bytes])
}
const decode = (message) => {
  if (message[0] !== 10) return ''
  let length = 0
  let at = 1
  for (let shift = 0; ; shift += 7) {
    const byte = message[at++]
    length |= (byte & 127) << shift
    if (byte < 128) break
  }
  return message.toString('utf8', at, at + length)
}
const frame = (body) => {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(body.length, 1)
  return Buffer.concat([head, body])
}
const collect = async (stream) => {
  const parts = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts)
}

const grpc = http2.createServer()
grpc.on('stream', async (stream, headers) => {
  stream.on('error', () => {})
  if (headers[':path'] !== METHOD) {
    stream.respond({ ':status': 200, 'content-type': 'application/grpc', 'grpc-status': '12' }, { endStream: true })
    return
  }
  const request = await collect(stream)
  const name = request.length > 5 ? decode(request.subarray(5)) : ''
  const version = headers.version ?? ''
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }))
  stream.end(frame(encode(`hostname:${hostname}, in:${name}, version:${version}`)))
})
grpc.listen(50051)

const sayHello = (host, name, version) =>
  new Promise((resolve, reject) => {
    const session = http2.connect(`http://${host}:50051`)
    const fail = (error) => {
      session.destroy()
      reject(error)
    }
    session.on('error', fail)
    const call = session.request({
      ':method': 'POST',
      ':path': METHOD,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...(version ? { version } : {}),
    })
    let status = ''
    call.on('response', (headers) => {
      status = String(headers['grpc-status'] ?? status)
    })
    call.on('trailers', (headers) => {
      status = String(headers['grpc-status'] ?? status)
    })
    call.on('error', fail)
    collect(call).then((body) => {
      session.close()
      if (status !== '0' && status !== '') reject(new Error(`rpc error: code = ${status}`))
      else resolve(decode(body.subarray(5)))
    }, fail)
    call.end(frame(encode(name)))
  })

const web = http.createServer(async (request, response) => {
  const url = new URL(request.url ?? '/', 'http://localhost')
  if (url.pathname === '/ping') return response.end('pong')
  if (url.pathname === '/grpc_client') {
    try {
      response.end(
        await sayHello(
          url.searchParams.get('name') ?? 'localhost',
          'grpc_client',
          url.searchParams.get('version') ?? '',
        ),
      )
    } catch (error) {
      response.statusCode = 502
      response.end(`could not greet: ${error.message}`)
    }
    return
  }
  response.end(`hostname:${hostname}\n`)
})
web.listen(8081, () => console.log('k8s-combat listens on 8081 (HTTP) and 50051 (gRPC)'))

process.on('SIGTERM', () => {
  web.close()
  grpc.close()
  setTimeout(() => process.exit(0), 3000).unref()
})
