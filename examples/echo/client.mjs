// A client that asks without pause, over HTTP/1.1, HTTP/2, gRPC streams and WebSockets, and counts what it loses.
// GET /: the count; POST /begin: counting starts anew. On the loopback address only.
import dns from 'node:dns'
import http from 'node:http'
import http2 from 'node:http2'
import WebSocket from 'ws'

const HOST = process.env.TARGET ?? 'echo'
/** Requests a second, of all kinds together; of streams a sixth is left out. */
const RATE = Number(process.env.RATE ?? 600)
const state = { on: false, sent: 0, lost: [], seen: {}, last: {} }

function saw(text) {
  const version = String(text).split(' ')[0]
  state.seen[version] = (state.seen[version] ?? 0) + 1
  state.last[version] = Date.now()
}
function lost(kind, why) {
  if (state.on) state.lost.push(`${new Date().toISOString()} ${kind}: ${why}`)
}
/** So much time of this process's own, milliseconds, an answer may take. */
const TIMEOUT = 10_000
/** How often the clock below has been seen to go on; where the machine stands still, it stands still too. */
let ticks = 0
/** Calls `fn` after so many milliseconds of this process's own time; what it returns takes that back. */
function late(ms, fn) {
  const due = ticks + ms / 10
  const timer = setInterval(() => {
    if (ticks < due) return
    clearInterval(timer)
    fn()
  }, 100)
  return () => clearInterval(timer)
}

const agent = new http.Agent({ keepAlive: true, maxSockets: 16 })
function plain() {
  return new Promise((resolve) => {
    const request = http.get({ host: HOST, port: 8080, agent }, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (d) => {
        text += d
      })
      response.on('error', (e) => resolve(lost('HTTP/1.1', e.message)))
      response.on('end', () =>
        resolve(response.statusCode === 200 ? saw(text) : lost('HTTP/1.1', `${response.statusCode} ${text}`)),
      )
    })
    const stop = late(TIMEOUT, () => request.destroy(new Error('timeout')))
    request.on('close', stop)
    request.on('error', (e) => resolve(lost('HTTP/1.1', e.message)))
  })
}

let session
function modern() {
  return new Promise((resolve) => {
    if (!session || session.closed || session.destroyed) {
      session = http2.connect(`http://${HOST}:8082`)
      session.on('error', () => {})
      session.on('goaway', () => {
        session = undefined
      })
    }
    const stream = session.request({ ':path': '/' }, { endStream: true })
    let status = 0
    let text = ''
    stream.on(
      'close',
      late(TIMEOUT, () => stream.close(8)),
    )
    stream.on('response', (headers) => {
      status = headers[':status']
    })
    stream.setEncoding('utf8').on('data', (d) => {
      text += d
    })
    stream.on('error', (e) => resolve(lost('HTTP/2', e.message)))
    stream.on('close', () => resolve(status === 200 ? saw(text) : lost('HTTP/2', `${status} ${text}`)))
  })
}

const FRAME = Buffer.from([0, 0, 0, 0, 2, 104, 105])
/** A stream of a few messages, each answered before the next is sent. */
function stream() {
  return new Promise((resolve) => {
    const connection = http2.connect(`http://${HOST}:8083`)
    connection.on('error', () => {})
    const call = connection.request({
      ':method': 'POST',
      ':path': '/echo.Echo/Say',
      'content-type': 'application/grpc',
      te: 'trailers',
    })
    let answers = 0
    let status
    call.on(
      'close',
      late(TIMEOUT, () => call.close(8)),
    )
    call.on('response', (headers) => {
      if (headers['grpc-status'] !== undefined) status = headers['grpc-status']
    })
    call.on('trailers', (headers) => {
      status = headers['grpc-status']
    })
    call.on('data', (data) => {
      saw(data.subarray(5).toString())
      if (++answers < 5) setTimeout(() => call.write(FRAME), 100)
      else call.end()
    })
    call.on('error', () => {})
    call.on('close', () => {
      connection.close()
      resolve(status === '0' && answers === 5 ? undefined : lost('gRPC', `status ${status} after ${answers} answers`))
    })
    call.write(FRAME)
  })
}

function socket() {
  return new Promise((resolve) => {
    const begun = Date.now()
    let step = 'looked up'
    const ws = new WebSocket(`ws://${HOST}:8080/`, {
      lookup: (name, options, done) =>
        dns.lookup(name, options, (...found) => {
          step = `opened, its name was found in ${Date.now() - begun} ms`
          done(...found)
        }),
    })
    let answers = 0
    const stop = late(TIMEOUT, () => ws.terminate())
    ws.on('open', () => {
      step = 'answered'
      ws.send('hi')
    })
    ws.on('message', (data) => {
      saw(data)
      if (++answers < 5) setTimeout(() => ws.send('hi'), 100)
      else ws.close()
    })
    ws.on('error', () => {})
    ws.on('close', () => {
      stop()
      resolve(
        answers === 5
          ? undefined
          : lost('WebSocket', `closed after ${answers} answers and ${Date.now() - begun} ms, before it was ${step}`),
      )
    })
  })
}

const KINDS = [plain, plain, plain, plain, modern, modern, modern, modern, stream, socket]
let turn = 0
setInterval(() => {
  ticks++
  if (!state.on) return
  for (let i = 0; i < RATE / 100; i++) {
    const kind = KINDS[turn++ % KINDS.length]
    // Streams are long: a few a second are many at once.
    if ((kind === stream || kind === socket) && turn % 50 > 10) continue
    state.sent++
    void kind()
  }
}, 10)

http
  .createServer((request, response) => {
    if (request.method === 'POST') Object.assign(state, { on: true })
    response.setHeader('Content-Type', 'application/json')
    response.end(JSON.stringify(state))
  })
  .listen(9999, '127.0.0.1')
process.on('SIGTERM', () => process.exit(0))
