// Calls that filters make to services of their own, over the same clusters and pools as requests.

import { Deadline } from '#base'
import { frameMessage, type Message, type MessageType } from '#wire'
import { type ProxyContext, poolFor } from '../http/context.ts'
import { fieldOf, type HttpRequest, type Upstream } from '../http/request.ts'

export interface SideAnswer {
  readonly status: number
  readonly fields: readonly string[]
  readonly trailers: readonly string[]
  readonly body: Buffer
}

/** Bytes of an answer that are read. */
const ANSWER_LIMIT = 1024 * 1024

/** Asks a cluster; `done` gets the answer, or undefined when none came in time. Returns how to give it up. */
export function sideCall(
  context: ProxyContext,
  cluster: string,
  request: HttpRequest,
  body: Uint8Array | undefined,
  timeout: number,
  done: (answer: SideAnswer | undefined) => void,
): () => void {
  const state = context.config.usable(cluster)
  if (!state && context.config.onDemand) {
    let cancel = () => {}
    let cancelled = false
    context.config.awaitCluster(cluster, (told) => {
      if (cancelled) return
      if (told) cancel = sideCall(context, cluster, request, body, timeout, done)
      else done(undefined)
    })
    return () => {
      cancelled = true
      cancel()
    }
  }
  const host = state?.pick(context.random)
  if (!state || !host) {
    done(undefined)
    return () => {}
  }
  let over = false
  let status = 0
  let fields: readonly string[] = []
  const parts: Buffer[] = []
  let size = 0
  let upstream: Upstream | undefined
  const finish = (answer: SideAnswer | undefined) => {
    if (over) return
    over = true
    deadline.cancel()
    host.active--
    done(answer)
  }
  const deadline = new Deadline(timeout, () => {
    upstream?.cancel()
    finish(undefined)
  })
  host.active++
  upstream = poolFor(context, state.config, request).request(
    host,
    request,
    {
      onHead(s, f, end) {
        status = s
        fields = f
        if (end) finish({ status, fields, trailers: [], body: Buffer.alloc(0) })
      },
      onData(chunk) {
        size += chunk.length
        if (size <= ANSWER_LIMIT) parts.push(chunk)
      },
      onEnd: (trailers) => finish({ status, fields, trailers: trailers ?? [], body: Buffer.concat(parts) }),
      onDrain() {},
      onError: () => finish(undefined),
    },
    false,
  )
  if (request.hasBody) {
    if (body) upstream.write(body)
    upstream.end(undefined)
  }
  return () => {
    if (over) return
    over = true
    deadline.cancel()
    host.active--
    upstream?.cancel()
  }
}

/** Calls a unary gRPC method; `done` gets the message, or undefined when there is none. */
export function grpcCall(
  context: ProxyContext,
  cluster: string,
  path: string,
  types: { readonly request: MessageType; readonly response: MessageType },
  message: Message,
  options: { readonly timeout: number; readonly authority?: string; readonly fields?: readonly string[] },
  done: (answer: Message | undefined) => void,
): () => void {
  const request: HttpRequest = {
    method: 'POST',
    path,
    authority: options.authority || cluster,
    scheme: 'http',
    fields: ['content-type', 'application/grpc', ...(options.fields ?? [])],
    hasBody: true,
    protocol: 'HTTP/2',
    upgrade: '',
    trailers: true,
  }
  return sideCall(context, cluster, request, frameMessage(types.request.encode(message)), options.timeout, (answer) => {
    const status = answer && (fieldOf(answer.trailers, 'grpc-status') ?? fieldOf(answer.fields, 'grpc-status'))
    if (!answer || status !== '0' || answer.body.length < 5) return done(undefined)
    try {
      done(types.response.decode(answer.body.subarray(5)))
    } catch {
      done(undefined)
    }
  })
}
