// Whether a request is tried again. Pure (Envoy's router filter: retry_on, back-off with jitter).

import { fieldsFit } from '../config/matchers.ts'
import type { RetryPolicy } from '../config/model.ts'
import { fieldOf, type UpstreamFailure } from './request.ts'

/** How a try ended: with an answer, or with none. */
export type Outcome =
  | { readonly kind: 'response'; readonly status: number; readonly fields: readonly string[]; readonly grpc: boolean }
  | { readonly kind: 'failure'; readonly failure: UpstreamFailure; readonly sent: boolean }
  | { readonly kind: 'perTryTimeout' }

const GATEWAY = new Set([502, 503, 504])
/** The words for gRPC's statuses. */
const GRPC: Readonly<Record<string, string>> = {
  '1': 'cancelled',
  '4': 'deadline-exceeded',
  '8': 'resource-exhausted',
  '13': 'internal',
  '14': 'unavailable',
}

/** Whether a policy asks for another try after such an end. */
export function wantsRetry(policy: RetryPolicy, outcome: Outcome): boolean {
  const { on } = policy
  switch (outcome.kind) {
    case 'perTryTimeout':
      // For Envoy it is a 504 that the proxy itself has made.
      return (
        on.has('5xx') ||
        on.has('gateway-error') ||
        on.has('reset') ||
        (on.has('retriable-status-codes') && policy.statuses.has(504))
      )
    case 'failure': {
      const { failure } = outcome
      if (failure === 'overflow') return false
      if (on.has('5xx') || on.has('gateway-error') || on.has('reset')) return true
      if (failure === 'refused') return on.has('refused-stream')
      if (failure === 'connect' || failure === 'timeout') return on.has('connect-failure')
      return !outcome.sent && on.has('reset-before-request')
    }
    case 'response': {
      const { status, fields, grpc } = outcome
      if (on.has('5xx') && status >= 500) return true
      if (on.has('gateway-error') && GATEWAY.has(status)) return true
      if (on.has('retriable-4xx') && status === 409) return true
      if (on.has('retriable-status-codes') && policy.statuses.has(status)) return true
      if (on.has('retriable-headers') && policy.headers.some((h) => fieldsFit(h, fields))) return true
      if (on.has('envoy-ratelimited') && fieldOf(fields, 'x-envoy-ratelimited') !== undefined) return true
      if (!grpc) return false
      const word = GRPC[fieldOf(fields, 'grpc-status') ?? '']
      return word !== undefined && on.has(word)
    }
  }
}

/** Milliseconds before a try, the first retry being 1: any number up to a bound that grows, as Envoy's. */
export function backOff({ base, max }: RetryPolicy, retry: number, random: number): number {
  return Math.min(random * base * (2 ** retry - 1), max)
}

/** A route's policy with what the request itself asks for (x-envoy-retry-on, x-envoy-max-retries). */
export function requestedPolicy(policy: RetryPolicy | undefined, fields: readonly string[]): RetryPolicy | undefined {
  let asked: string[] | undefined
  let retries: number | undefined
  for (let i = 0; i < fields.length; i += 2) {
    const name = fields[i]!
    if (!name.startsWith('x-envoy-')) continue
    if (name === 'x-envoy-retry-on' || name === 'x-envoy-retry-grpc-on')
      asked = [...(asked ?? []), ...fields[i + 1]!.split(',').map((w) => w.trim())]
    else if (name === 'x-envoy-max-retries') retries = Number(fields[i + 1])
  }
  if (asked === undefined && (policy === undefined || retries === undefined)) return policy
  const from: RetryPolicy = policy ?? {
    on: new Set(),
    statuses: new Set(),
    headers: [],
    prioritiesAfter: 0,
    retries: 1,
    perTryTimeout: 0,
    perTryIdle: 0,
    hostAttempts: 1,
    avoidPrevious: false,
    base: 25,
    max: 250,
  }
  return {
    ...from,
    on: new Set([...from.on, ...(asked ?? [])]),
    retries: retries !== undefined && retries >= 0 && retries < 100 ? retries : from.retries,
  }
}
