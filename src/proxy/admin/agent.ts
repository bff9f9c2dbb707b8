// What the sidecar shows of itself and of its application: health on 15021, metrics on 15090, both and probes on 15020.

import { get as getHttp, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import { get as getHttps } from 'node:https'
import { connect } from 'node:net'
import { GrpcClient, HEALTH_CHECK, SERVING } from '#wire'

/** Where the application's own metrics are (Istio's ISTIO_PROMETHEUS_ANNOTATIONS). */
export interface AppMetrics {
  readonly port: number
  readonly path: string
}

/** A probe of the kubelet's that goes through the sidecar (Istio's ISTIO_KUBE_APP_PROBERS). */
export interface AppProbe {
  readonly httpGet?: {
    readonly path?: string
    readonly port: number
    readonly scheme?: string
    readonly host?: string
    readonly httpHeaders?: readonly { readonly name: string; readonly value: string }[]
  }
  readonly tcpSocket?: { readonly port: number }
  readonly grpc?: { readonly port: number; readonly service?: string }
  readonly timeoutSeconds?: number
}

export interface AgentOptions {
  readonly metrics: () => Promise<string>
  /** Requests for this workload that are under way. */
  readonly underWay: () => Promise<number>
  readonly appMetrics: AppMetrics | undefined
  readonly probes: Readonly<Record<string, AppProbe>>
  /** The address at which the application is asked. */
  readonly appHost: string
  readonly ready: () => boolean
  readonly drain: () => void
  readonly quit: () => void
}

/** Bytes of the application's metrics that are passed on. */
const METRICS_LIMIT = 16 * 1024 * 1024
const METRICS_MS = 5000

export function healthHandler({ ready }: Pick<AgentOptions, 'ready'>): RequestListener {
  return (request, response) => {
    if (request.url?.split('?')[0] === '/healthz/ready') response.writeHead(ready() ? 200 : 503).end()
    else response.writeHead(404).end()
  }
}

export function metricsHandler({ metrics }: Pick<AgentOptions, 'metrics'>): RequestListener {
  return (request, response) => {
    if (request.url?.startsWith('/stats/prometheus')) void metrics().then((text) => sendMetrics(response, text))
    else response.writeHead(404).end()
  }
}

const sendMetrics = (response: ServerResponse, text: string) =>
  response.writeHead(200, { 'Content-Type': 'text/plain; version=0.0.4; charset=utf-8' }).end(text)

export function agentHandler(options: AgentOptions): RequestListener {
  const health = healthHandler(options)
  return (request, response) => {
    const path = request.url?.split('?')[0] ?? '/'
    const post = request.method === 'POST'
    request.resume()
    const probe = options.probes[path]
    if (probe) return void runProbe(probe, options.appHost, request, response)
    switch (path) {
      case '/metrics':
      case '/stats/prometheus':
        return void Promise.all([options.metrics(), readApp(options)]).then((parts) =>
          sendMetrics(response, parts.join('')),
        )
      case '/requests/active':
        return void options.underWay().then((count) => response.end(`${count}\n`))
      case '/quitquitquit':
        if (!post) return response.writeHead(405).end()
        response.end('OK\n')
        return options.quit()
      case '/drain':
        if (!post) return response.writeHead(405).end()
        response.end('OK\n')
        return options.drain()
      default:
        health(request, response)
    }
  }
}

/** The application's metrics; without them, or when they do not come, nothing. */
function readApp({ appMetrics, appHost }: AgentOptions): Promise<string> {
  if (!appMetrics) return Promise.resolve('')
  return new Promise((resolve) => {
    const { port, path } = appMetrics
    const request = getHttp({ host: appHost, port, path, timeout: METRICS_MS, agent: false }, (answer) => {
      const parts: Buffer[] = []
      let size = 0
      answer.on('data', (part: Buffer) => {
        size += part.length
        if (size > METRICS_LIMIT) answer.destroy()
        else parts.push(part)
      })
      answer.on('close', () =>
        resolve(answer.statusCode === 200 && size <= METRICS_LIMIT ? ensureLine(Buffer.concat(parts).toString()) : ''),
      )
    })
    request.on('timeout', () => request.destroy())
    request.on('error', () => resolve(''))
  })
}

const ensureLine = (text: string) => (text === '' || text.endsWith('\n') ? text : `${text}\n`)

/** Asks the application as the kubelet would have, and answers with what it says. */
function runProbe(probe: AppProbe, host: string, request: IncomingMessage, response: ServerResponse): void {
  const timeout = (probe.timeoutSeconds ?? 1) * 1000
  const done = (status: number) => {
    if (!response.headersSent) response.writeHead(status).end()
  }
  if (probe.tcpSocket) {
    const socket = connect({ host, port: probe.tcpSocket.port })
    socket.setTimeout(timeout, () => socket.destroy())
    socket.on('connect', () => {
      done(200)
      socket.destroy()
    })
    socket.on('error', () => {})
    return void socket.on('close', () => done(500))
  }
  if (probe.grpc) {
    const { port, service = '' } = probe.grpc
    const client = new GrpcClient({ host, port })
    client
      .call(HEALTH_CHECK, { service }, { timeoutMs: timeout })
      .then(
        ({ status }) => done(status === SERVING ? 200 : 500),
        () => done(500),
      )
      .finally(() => client.close())
    return
  }
  const get = probe.httpGet
  if (!get) return done(404)
  const headers: Record<string, string> = {}
  for (const name of ['user-agent', 'accept']) {
    const value = request.headers[name]
    if (typeof value === 'string') headers[name] = value
  }
  for (const { name, value } of get.httpHeaders ?? []) headers[name] = value
  const to = { host: get.host ?? host, port: get.port, path: get.path || '/', headers, timeout, agent: false }
  const onAnswer = (answer: IncomingMessage) => {
    answer.resume()
    done(answer.statusCode ?? 500)
  }
  const ask = get.scheme === 'HTTPS' ? getHttps({ ...to, rejectUnauthorized: false }, onAnswer) : getHttp(to, onAnswer)
  ask.on('timeout', () => ask.destroy())
  ask.on('error', () => done(500))
}
