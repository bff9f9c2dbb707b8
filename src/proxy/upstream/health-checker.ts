// Asks one host again and again whether it is well (Envoy's active health checks).

import { connect, type Socket } from 'node:net'
import { frameMessage, H1Parser, H2Session, HEALTH_CHECK, Output, SERVING } from '#wire'
import type { HealthCheck } from '../config/model.ts'
import { addressOf } from './connector.ts'
import type { Host } from './host.ts'

export class HealthChecker {
  readonly #check: HealthCheck
  readonly #host: Host
  readonly #tell: (well: boolean) => void
  #timer: NodeJS.Timeout | undefined
  #good = 0
  #bad = 0
  /** Nothing is known before the first answer: one good one is enough. */
  #first = true
  #closed = false

  constructor(check: HealthCheck, host: Host, tell: (well: boolean) => void) {
    this.#check = check
    this.#host = host
    this.#tell = tell
    void this.#turn()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  async #turn(): Promise<void> {
    const well = await ask(this.#check, this.#host)
    if (this.#closed) return
    if (well) {
      this.#good++
      this.#bad = 0
      if (this.#first || this.#good >= this.#check.healthyThreshold) this.#tell(true)
    } else {
      this.#bad++
      this.#good = 0
      if (this.#first || this.#bad >= this.#check.unhealthyThreshold) this.#tell(false)
    }
    this.#first = false
    this.#timer = setTimeout(() => void this.#turn(), this.#check.interval).unref()
  }
}

/** Whether a host answers as it should, in time. */
function ask(check: HealthCheck, host: Host): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ ...addressOf(host.endpoint), noDelay: true })
    const done = (well: boolean) => {
      clearTimeout(timer)
      socket.destroy()
      resolve(well)
    }
    const timer = setTimeout(() => done(false), check.timeout).unref()
    socket.on('error', () => done(false))
    socket.on('close', () => done(false))
    socket.on('connect', () => {
      if (check.kind === 'tcp') done(true)
      else if (check.kind === 'http') askHttp(check, socket, done)
      else askGrpc(check, socket, done)
    })
  })
}

function askHttp(check: HealthCheck, socket: Socket, done: (well: boolean) => void): void {
  const parser = new H1Parser('response', {
    onHead: ({ status }) => done(check.statuses.some(([from, to]) => status >= from && status < to)),
    onData() {},
    onEnd() {},
  })
  socket.on('data', (data: Buffer) => {
    try {
      parser.push(data)
    } catch {
      done(false)
    }
  })
  socket.write(`GET ${check.path} HTTP/1.1\r\nhost: ${check.host}\r\nuser-agent: Envoy/HC\r\nconnection: close\r\n\r\n`)
}

/** grpc.health.v1 (github.com/grpc/grpc, doc/health-checking.md). */
function askGrpc(check: HealthCheck, socket: Socket, done: (well: boolean) => void): void {
  const session = new H2Session('client', new Output(socket), { onEnd: () => done(false) })
  socket.on('data', (data: Buffer) => session.push(data))
  const fields = [':method', 'POST', ':scheme', 'http', ':path', HEALTH_CHECK.path]
  fields.push(':authority', check.host, 'content-type', 'application/grpc', 'te', 'trailers')
  const parts: Buffer[] = []
  const stream = session.request(fields, false, {
    onData: (data) => parts.push(data),
    onEnd: () => {
      const body = Buffer.concat(parts)
      done(body.length >= 5 && HEALTH_CHECK.response.decode(body.subarray(5)).status === SERVING)
    },
    onReset: () => done(false),
    onDrain() {},
  })
  stream.data(frameMessage(HEALTH_CHECK.request.encode({ service: check.service })))
  stream.end()
}
