// exec, attach and port-forward: SPDY/3.1 or WebSocket towards the client, NodeAccess sessions behind.

import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { createWebSocketStream, type WebSocket, WebSocketServer } from 'ws'
import { errors, type KubeObject, StatusError } from '#api'
import { SpdyConnection, type SpdyStream } from '#wire'
import type { ExecOptions, ExecSession, ForwardSession, NodeAccess } from './node-access.ts'
import { flag, type ResourceRequest } from './request-info.ts'
import { containerOf } from './subresources.ts'

const EXEC_PROTOCOLS = [
  'v5.channel.k8s.io',
  'v4.channel.k8s.io',
  'v3.channel.k8s.io',
  'v2.channel.k8s.io',
  'channel.k8s.io',
  'v4.base64.channel.k8s.io',
  'base64.channel.k8s.io',
]
const FORWARD_SPDY = 'portforward.k8s.io'
const FORWARD_TUNNEL = 'SPDY/3.1+portforward.k8s.io'
const CHANNEL = { stdin: 0, stdout: 1, stderr: 2, error: 3, resize: 4, close: 255 } as const
/** How long a client may take to open the streams it announced. */
const STREAMS_MS = 30_000

const sockets = new WebSocketServer({
  noServer: true,
  maxPayload: 8 * 1024 * 1024,
  handleProtocols: (offered) => choose(offered),
})

function choose(offered: Set<string>): string | false {
  if (offered.has(FORWARD_TUNNEL)) return FORWARD_TUNNEL
  return EXEC_PROTOCOLS.find((p) => offered.has(p)) ?? false
}

/** One upgrade request on a pod's exec, attach or portforward. */
export interface UpgradeCall {
  request: ResourceRequest
  pod: KubeObject
  http: IncomingMessage
  socket: Duplex
  head: Buffer
  node: NodeAccess
}

/** Runs the session until it ends. Fails with a StatusError before the connection is upgraded. */
export async function handleUpgrade(call: UpgradeCall): Promise<void> {
  const { request, http, pod } = call
  if (!pod.spec?.nodeName) throw errors.badRequest(`pod ${pod.metadata.name} does not have a host assigned`)
  const upgrade = String(http.headers.upgrade ?? '').toLowerCase()
  if (request.subresource === 'portforward') {
    if (upgrade === 'websocket') return forwardOverWebSocket(call)
    return forwardOverSpdy(call)
  }
  const options = execOptions(call)
  if (upgrade === 'websocket') return execOverWebSocket(call, options)
  return execOverSpdy(call, options)
}

function execOptions({ request, pod }: UpgradeCall): ExecOptions {
  const { query } = request
  const asked = (name: string) => flag(query, name) === true
  const command = query.getAll('command')
  if (request.subresource === 'exec' && command.length === 0)
    throw errors.badRequest('you must specify at least 1 command for the container')
  const tty = asked('tty')
  return {
    container: containerOf(pod, query.get('container')),
    command,
    stdin: asked('stdin'),
    stdout: asked('stdout'),
    stderr: asked('stderr') && !tty,
    tty,
  }
}

function open(call: UpgradeCall, options: ExecOptions): Promise<ExecSession> {
  return call.request.subresource === 'exec' ? call.node.exec(call.pod, options) : call.node.attach(call.pod, options)
}

/** Answers 101 and hands the socket to SPDY. Fails with BadRequest when no protocol is shared. */
function acceptSpdy(
  call: UpgradeCall,
  supported: readonly string[],
  onStream: (s: SpdyStream) => void,
  onClose: () => void,
): SpdyConnection {
  const { http, socket, head } = call
  if (!/^spdy\/3\.1$/i.test(String(http.headers.upgrade)))
    throw errors.badRequest('unable to upgrade: missing upgrade headers in request')
  const offered = String(http.headers['x-stream-protocol-version'] ?? '')
    .split(',')
    .map((p) => p.trim())
    .filter(Boolean)
  const protocol = offered.length === 0 ? (supported[0] ?? '') : offered.find((p) => supported.includes(p))
  if (protocol === undefined)
    throw new StatusError(403, 'Forbidden', `unable to upgrade: unsupported protocol: ${offered.join(', ')}`)
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
  )
  return new SpdyConnection(socket, { server: true, onStream, onClose }, head)
}

const V4_TO_V1 = ['v5.channel.k8s.io', 'v4.channel.k8s.io', 'v3.channel.k8s.io', 'v2.channel.k8s.io', 'channel.k8s.io']

async function execOverSpdy(call: UpgradeCall, options: ExecOptions): Promise<void> {
  const session = await open(call, options)
  const streams = new Map<string, SpdyStream>()
  const wanted = 1 + Number(options.stdin) + Number(options.stdout) + Number(options.stderr)
  let ready: () => void = () => {}
  const opened = new Promise<void>((resolve) => {
    ready = resolve
  })
  let connection: SpdyConnection
  const finished = new Promise<void>((resolve) => {
    connection = acceptSpdy(
      call,
      V4_TO_V1,
      (stream) => {
        const type = stream.headers.streamtype ?? ''
        streams.set(type, stream)
        if (type === 'stdin') {
          stream.onData = (data) => session.stdin(data)
          stream.onEnd = () => session.endStdin()
        } else if (type === 'resize') stream.onData = (data) => session.resize(data)
        if ([...streams.keys()].filter((k) => k !== 'resize').length >= wanted) ready()
      },
      resolve,
    )
  })
  await Promise.race([opened, finished, new Promise((resolve) => setTimeout(resolve, STREAMS_MS).unref())])
  session.onStdout = (data) => streams.get('stdout')?.write(data)
  session.onStderr = (data) => (streams.get('stderr') ?? streams.get('stdout'))?.write(data)
  session.onExit = (status) => {
    streams.get('error')?.write(status)
    for (const stream of streams.values()) stream.end()
    void connection.finish()
  }
  await finished
  session.close()
}

/** A WebSocket that carries numbered channels: a byte before the data, or a digit before it in base64. */
interface Channels {
  readonly protocol: string
  onMessage: (channel: number, data: Buffer) => void
  send(channel: number, data: Buffer): void
  close(): void
  readonly closed: Promise<void>
}

async function channelsOf(call: UpgradeCall): Promise<Channels> {
  const socket = await upgradeWebSocket(call)
  const base64 = socket.protocol.includes('base64')
  const channels: Channels = {
    protocol: socket.protocol,
    onMessage: () => {},
    send(channel, data) {
      if (socket.readyState !== socket.OPEN) return
      if (base64) socket.send(`${channel}${data.toString('base64')}`)
      else socket.send(Buffer.concat([Buffer.from([channel]), data]))
    },
    close: () => socket.close(1000),
    closed: new Promise((resolve) => socket.on('close', () => resolve())),
  }
  socket.on('error', () => socket.terminate())
  socket.on('message', (message: Buffer) => {
    if (message.length === 0) return
    const rest = message.subarray(1)
    if (base64) channels.onMessage(message[0]! - 0x30, Buffer.from(rest.toString('latin1'), 'base64'))
    else channels.onMessage(message[0]!, rest)
  })
  return channels
}

function upgradeWebSocket(call: UpgradeCall): Promise<WebSocket> {
  return new Promise((resolve) => sockets.handleUpgrade(call.http, call.socket, call.head, resolve))
}

async function execOverWebSocket(call: UpgradeCall, options: ExecOptions): Promise<void> {
  const session = await open(call, options)
  const channels = await channelsOf(call)
  const v5 = channels.protocol === 'v5.channel.k8s.io'
  channels.onMessage = (channel, data) => {
    if (channel === CHANNEL.stdin) session.stdin(data)
    else if (channel === CHANNEL.resize) session.resize(data)
    else if (channel === CHANNEL.close && v5 && data[0] === CHANNEL.stdin) session.endStdin()
  }
  session.onStdout = (data) => channels.send(CHANNEL.stdout, data)
  session.onStderr = (data) => channels.send(options.stderr ? CHANNEL.stderr : CHANNEL.stdout, data)
  session.onExit = (status) => {
    channels.send(CHANNEL.error, status)
    channels.close()
  }
  await channels.closed
  session.close()
}

async function forwardOverWebSocket(call: UpgradeCall): Promise<void> {
  const offered = String(call.http.headers['sec-websocket-protocol'] ?? '')
  if (/\bv4\.(base64\.)?channel\.k8s\.io\b/.test(offered)) return forwardOverChannels(call)
  if (!offered.includes(FORWARD_TUNNEL)) throw errors.badRequest(`unable to upgrade: unsupported protocol: ${offered}`)
  const socket = await upgradeWebSocket(call)
  const io = createWebSocketStream(socket, { readableObjectMode: false })
  io.on('error', () => {})
  await new Promise<void>((resolve) =>
    serveForward(call, (onStream) => new SpdyConnection(io, { server: true, onStream, onClose: resolve })),
  )
}

/**
 * Port-forward by channels: two for each port of the query, data and errors, each beginning with the port
 * in two bytes, the low one first (upstream's kubelet, portforward/websocket.go).
 */
async function forwardOverChannels(call: UpgradeCall): Promise<void> {
  const { query } = call.request
  const ports = query.getAll('ports').flatMap((p) => p.split(',').map(Number))
  if (ports.length === 0 || ports.some((p) => !(Number.isInteger(p) && p > 0 && p < 65536)))
    throw errors.badRequest('query parameter "ports" must name ports between 1 and 65535')
  const channels = await channelsOf(call)
  const sessions = ports.map(async (port, i) => {
    const head = Buffer.from([port & 0xff, port >> 8])
    channels.send(2 * i, head)
    channels.send(2 * i + 1, head)
    try {
      const session = await call.node.portForward(call.pod, port)
      session.onData = (data) => channels.send(2 * i, data)
      session.onError = (text) => channels.send(2 * i + 1, Buffer.from(text))
      session.onEnd = () => {
        if (ports.length === 1) channels.close()
      }
      return session
    } catch (error) {
      channels.send(2 * i + 1, Buffer.from(`error forwarding port ${port}: ${(error as Error).message}`))
      return undefined
    }
  })
  channels.onMessage = (channel, data) => {
    if (channel % 2 === 0) void sessions[channel / 2]?.then((session) => session?.write(data))
  }
  await channels.closed
  for (const session of await Promise.all(sessions)) session?.close()
}

async function forwardOverSpdy(call: UpgradeCall): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    try {
      serveForward(call, (onStream) => acceptSpdy(call, [FORWARD_SPDY], onStream, resolve))
    } catch (error) {
      reject(error)
    }
  })
}

/** Pairs data and error streams by request id and connects each pair to the pod's port. */
function serveForward(call: UpgradeCall, accept: (onStream: (s: SpdyStream) => void) => SpdyConnection): void {
  const waiting = new Map<string, { data?: SpdyStream; error?: SpdyStream }>()
  accept((stream) => {
    const id = stream.headers.requestid ?? ''
    const pair = waiting.get(id) ?? {}
    waiting.set(id, pair)
    if (stream.headers.streamtype === 'error') pair.error = stream
    else pair.data = stream
    if (!pair.data || !pair.error) return
    waiting.delete(id)
    void forward(call, pair.data, pair.error, Number(pair.data.headers.port))
  })
}

async function forward(call: UpgradeCall, data: SpdyStream, error: SpdyStream, port: number): Promise<void> {
  let session: ForwardSession
  try {
    session = await call.node.portForward(call.pod, port)
  } catch (cause) {
    error.write(
      Buffer.from(`error forwarding port ${port} to pod ${call.pod.metadata.name}: ${(cause as Error).message}`),
    )
    error.end()
    data.end()
    return
  }
  session.onData = (bytes) => data.write(bytes)
  session.onEnd = () => {
    data.end()
    error.end()
  }
  session.onError = (text) => {
    error.write(Buffer.from(text))
    error.end()
    data.end()
  }
  data.onData = (bytes) => session.write(bytes)
  data.onEnd = () => session.end()
  data.onClose = () => session.close()
}
