// Delays and failures on purpose (Envoy's fault filter).

import { fromDuration } from '#api/xds'
import type { Message } from '#wire'
import { compileHeader, fractionOf } from '../config/matchers.ts'
import type { HeaderMatch } from '../config/model.ts'
import { requestField, requestFits } from '../http/request.ts'
import type { FilterExchange, HttpFilter } from './filter.ts'

export interface Fault {
  /** Milliseconds; undefined without one. The client may say how long where `byField` is set. */
  readonly delay: { readonly ms: number; readonly fraction: number; readonly byField: boolean } | undefined
  readonly abort:
    | {
        readonly status: number
        readonly grpcStatus: number | undefined
        readonly fraction: number
        readonly byField: boolean
      }
    | undefined
  readonly headers: readonly HeaderMatch[]
  readonly cluster: string
  readonly most: number
}

export function decodeFault(m: Message, what: string): Fault {
  const { delay, abort } = m
  return {
    delay: delay && {
      ms: fromDuration(delay.fixed_delay) ?? 0,
      fraction: delay.percentage ? fractionOf(delay.percentage) : 0,
      byField: delay.header_delay !== undefined,
    },
    abort: abort && {
      status: abort.http_status ?? (abort.grpc_status === undefined ? 503 : 200),
      grpcStatus: abort.grpc_status,
      fraction: abort.percentage ? fractionOf(abort.percentage) : 0,
      byField: abort.header_abort !== undefined,
    },
    headers: ((m.headers ?? []) as Message[]).map((h) => compileHeader(h, what)),
    cluster: m.upstream_cluster ?? '',
    most: m.max_active_faults?.value ?? Number.POSITIVE_INFINITY,
  }
}

export function faultFilter(name: string, config: Message, what: string): HttpFilter {
  const usual = decodeFault(config, what)
  let active = 0
  return {
    name,
    onRequest(exchange, next) {
      const fault = (exchange.settings(name) as Fault | undefined) ?? usual
      if ((!fault.delay && !fault.abort) || active >= fault.most || !meant(fault, exchange)) return next()
      const ms = delayOf(fault, exchange)
      if (ms <= 0) return abort(fault, exchange, next)
      exchange.addFlag('DI')
      active++
      let waiting = true
      const over = () => {
        if (waiting) active--
        waiting = false
      }
      const timer = setTimeout(() => {
        over()
        abort(fault, exchange, next)
      }, ms)
      exchange.onFinish(() => {
        clearTimeout(timer)
        over()
      })
    },
  }
}

function meant({ headers, cluster }: Fault, exchange: FilterExchange): boolean {
  if (cluster && !exchange.route()?.clusters.some((c) => c.name === cluster)) return false
  return headers.every((h) => requestFits(h, exchange.request))
}

const happens = (fraction: number, random: () => number) => fraction >= 1 || random() < fraction

function delayOf({ delay }: Fault, { context, request }: FilterExchange): number {
  if (!delay) return 0
  const asked = Number(requestField(request, 'x-envoy-fault-delay-request') ?? Number.NaN)
  if (delay.byField) return asked > 0 && happens(delay.fraction || 1, context.random) ? asked : 0
  return happens(delay.fraction, context.random) ? delay.ms : 0
}

function abort({ abort: how }: Fault, exchange: FilterExchange, next: () => void): void {
  if (exchange.over) return
  if (!how) return next()
  const asked = Number(requestField(exchange.request, 'x-envoy-fault-abort-request') ?? Number.NaN)
  const status = how.byField ? asked : how.status
  if (
    !(status >= 200 && status < 600) ||
    !happens(how.byField ? how.fraction || 1 : how.fraction, exchange.context.random)
  )
    return next()
  exchange.reply({
    status,
    flags: 'FI',
    details: 'fault_filter_abort',
    body: 'fault filter abort',
    ...(how.grpcStatus === undefined ? {} : { grpcStatus: how.grpcStatus }),
  })
}
