// An HTTP server that leaves politely: told to stop, it answers every connection once more before it goes.
import http from 'node:http'

/** A connection that asks nothing for this long after SIGTERM is closed. */
const QUIET_MS = 1000
const PATIENCE_MS = 10_000

/** Serves on a port. `handler` may throw or reject: the client gets a 500. */
export function serve(port, handler, started = `listening on port ${port}`) {
  let stopping = false
  const sockets = new Set()
  const server = http.createServer(async (request, response) => {
    request.socket.lastUse = Date.now()
    if (stopping) response.setHeader('Connection', 'close')
    try {
      await handler(request, response)
    } catch (error) {
      console.error(error)
      if (!response.headersSent) response.writeHead(500, { 'Content-Type': 'text/plain' })
      response.end('Internal Server Error\n')
    }
  })
  server.keepAliveTimeout = 75_000
  server.on('connection', (socket) => {
    sockets.add(socket)
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen(port, () => console.log(started))
  process.on('SIGTERM', () => {
    if (stopping) process.exit(0)
    stopping = true
    const begun = Date.now()
    setInterval(() => {
      const now = Date.now()
      const busy = [...sockets].some((s) => now - Math.max(begun, s.lastUse ?? 0) < QUIET_MS)
      if (sockets.size === 0 || !busy || now - begun > PATIENCE_MS) process.exit(0)
    }, 50)
  })
  return server
}

/** The body of a request, up to 1 MiB. */
export async function bodyOf(request) {
  const parts = []
  let size = 0
  for await (const part of request) {
    size += part.length
    if (size > 1 << 20) throw new Error('the request body is larger than 1 MiB')
    parts.push(part)
  }
  return Buffer.concat(parts).toString('utf8')
}

export function json(response, code, value) {
  response.writeHead(code, { 'Content-Type': 'application/json' }).end(`${JSON.stringify(value)}\n`)
}

export const escapeHtml = (text) =>
  String(text).replace(/[&<>"']/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c])
