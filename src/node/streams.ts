// Streams into containers: speaks SPDY to containerd's streaming server, which carries half-closes.

import { request } from 'node:http'
import type { Duplex } from 'node:stream'
import { SampanError } from '#base'
import { SpdyConnection, type SpdyStream } from '#wire'

/** Upgrades a connection to the streaming server. */
function dial(url: string, protocol: string, onClose: () => void): Promise<SpdyConnection> {
  return new Promise((resolve, reject) => {
    const call = request(url, {
      method: 'POST',
      headers: { Connection: 'Upgrade', Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': protocol },
      agent: false,
    })
    call.on('upgrade', (_response, socket: Duplex, head: Buffer) =>
      resolve(new SpdyConnection(socket, { server: false, onClose }, head)),
    )
    call.on('response', (response) => {
      response.resume()
      reject(new SampanError('StreamRefused', `Cannot open a stream: the runtime answered ${response.statusCode}`))
    })
    call.on('error', reject)
    call.end()
  })
}

export interface ExecStreams {
  onStdout: (data: Buffer) => void
  onStderr: (data: Buffer) => void
  onExit: (status: Buffer) => void
  stdin(data: Buffer): void
  endStdin(): void
  resize(data: Buffer): void
  close(): void
}

const LOST = Buffer.from(
  JSON.stringify({
    metadata: {},
    status: 'Failure',
    reason: 'InternalError',
    message: 'the connection to the container was lost',
  }),
)
const SUCCESS = Buffer.from(JSON.stringify({ metadata: {}, status: 'Success' }))

/** Opens the channels of an exec or attach at a URL the runtime gave. */
export async function openExec(
  url: string,
  wanted: { stdin: boolean; stdout: boolean; stderr: boolean; tty: boolean },
): Promise<ExecStreams> {
  let exited = false
  let status: Buffer = Buffer.alloc(0)
  const early: (() => void)[] = []
  const connection = await dial(url, 'v4.channel.k8s.io', () => exit(status.length > 0 ? status : LOST))
  const error = connection.open({ streamtype: 'error' })
  const stdin = wanted.stdin ? connection.open({ streamtype: 'stdin' }) : undefined
  const stdout = wanted.stdout ? connection.open({ streamtype: 'stdout' }) : undefined
  const stderr = wanted.stderr ? connection.open({ streamtype: 'stderr' }) : undefined
  const resize = wanted.tty ? connection.open({ streamtype: 'resize' }) : undefined
  const open = new Set<SpdyStream>([error, ...(stdout ? [stdout] : []), ...(stderr ? [stderr] : [])])
  let listeners: Pick<ExecStreams, 'onStdout' | 'onStderr' | 'onExit'> | undefined
  const deliver = (fn: (l: Pick<ExecStreams, 'onStdout' | 'onStderr' | 'onExit'>) => void) => {
    if (listeners) fn(listeners)
    else early.push(() => fn(listeners!))
  }
  function exit(body: Buffer): void {
    if (exited) return
    exited = true
    deliver((l) => l.onExit(body))
  }
  // The exit counts once the status and all output are here.
  const ended = (stream: SpdyStream) => {
    open.delete(stream)
    if (open.size === 0) exit(status.length > 0 ? status : SUCCESS)
  }
  error.onData = (data) => {
    status = Buffer.concat([status, data])
  }
  error.onEnd = () => ended(error)
  if (stdout) {
    stdout.onData = (data) => deliver((l) => l.onStdout(data))
    stdout.onEnd = () => ended(stdout)
  }
  if (stderr) {
    stderr.onData = (data) => deliver((l) => l.onStderr(data))
    stderr.onEnd = () => ended(stderr)
  }
  const handlers = { onStdout: (_: Buffer) => {}, onStderr: (_: Buffer) => {}, onExit: (_: Buffer) => {} }
  const flush = () => {
    if (listeners) return
    listeners = handlers
    for (const call of early.splice(0)) call()
  }
  return {
    set onStdout(fn: (data: Buffer) => void) {
      handlers.onStdout = fn
    },
    set onStderr(fn: (data: Buffer) => void) {
      handlers.onStderr = fn
    },
    // Set last by every caller: from here on nothing is held back.
    set onExit(fn: (status: Buffer) => void) {
      handlers.onExit = fn
      flush()
    },
    stdin: (data) => stdin?.write(data),
    endStdin: () => stdin?.end(),
    resize: (data) => resize?.write(data),
    close: () => connection.close(),
  }
}

export interface ForwardStreams {
  onData: (data: Buffer) => void
  onEnd: () => void
  onError: (message: string) => void
  write(data: Buffer): void
  end(): void
  close(): void
}

/** Opens one forwarded connection at a URL the runtime gave. What comes before anybody listens is kept. */
export async function openForward(url: string, port: number): Promise<ForwardStreams> {
  const handlers = { onData: (_: Buffer) => {}, onEnd: () => {}, onError: (_: string) => {} }
  let early: (() => void)[] | undefined = []
  const deliver = (event: () => void) => {
    if (early) early.push(event)
    else event()
  }
  /** Somebody listens now; all of his handlers are set in one go. */
  const flush = () =>
    queueMicrotask(() => {
      const events = early ?? []
      early = undefined
      for (const event of events) event()
    })
  const connection = await dial(url, 'portforward.k8s.io', () => deliver(() => handlers.onEnd()))
  const error = connection.open({ streamtype: 'error', port: String(port), requestid: '0' })
  const data = connection.open({ streamtype: 'data', port: String(port), requestid: '0' })
  error.end()
  let failure = ''
  let open = 2
  // The end of the data may overtake the reason for it: both streams are waited for.
  const ended = () => {
    if (--open > 0) return
    deliver(() => (failure ? handlers.onError(failure) : handlers.onEnd()))
    void connection.finish()
  }
  error.onData = (text) => {
    failure += text.toString()
  }
  error.onEnd = ended
  data.onData = (bytes) => deliver(() => handlers.onData(bytes))
  data.onEnd = ended
  return {
    set onData(fn: (data: Buffer) => void) {
      handlers.onData = fn
      flush()
    },
    set onEnd(fn: () => void) {
      handlers.onEnd = fn
      flush()
    },
    set onError(fn: (message: string) => void) {
      handlers.onError = fn
      flush()
    },
    write: (bytes) => data.write(bytes),
    end: () => data.end(),
    close: () => connection.close(),
  }
}
