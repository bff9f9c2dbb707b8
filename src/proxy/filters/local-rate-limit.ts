// Requests beyond a rate are answered with 429, each proxy counting for itself (Envoy's local_ratelimit).

import { fromDuration } from '#api/xds'
import type { Message } from '#wire'
import { fractionOf, refuse } from '../config/matchers.ts'
import { type DescriptorEntry, descriptorsOf } from './descriptors.ts'
import type { HttpFilter } from './filter.ts'

/** So many tokens at most; so many come back at each interval. */
export class TokenBucket {
  readonly #max: number
  readonly #fill: number
  readonly #interval: number
  #tokens: number
  #at: number

  constructor(max: number, fill: number, interval: number, now: number) {
    this.#max = max
    this.#fill = fill
    this.#interval = interval
    this.#tokens = max
    this.#at = now
  }

  take(now: number): boolean {
    const turns = Math.floor((now - this.#at) / this.#interval)
    if (turns > 0) {
      this.#tokens = Math.min(this.#max, this.#tokens + turns * this.#fill)
      this.#at += turns * this.#interval
    }
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}

interface LocalLimit {
  readonly bucket: TokenBucket | undefined
  readonly descriptors: readonly { readonly entries: readonly DescriptorEntry[]; readonly bucket: TokenBucket }[]
  readonly enabled: number
  readonly enforced: number
  readonly status: number
  readonly fields: readonly string[]
  readonly stage: number
}

function bucketOf(m: Message, what: string): TokenBucket {
  const max: number = m.max_tokens ?? 0
  const interval = fromDuration(m.fill_interval) ?? 0
  if (max < 1 || interval < 1)
    refuse(what, 'a token bucket needs max_tokens and a fill_interval of a millisecond at least')
  return new TokenBucket(max, m.tokens_per_fill?.value ?? 1, interval, performance.now())
}

export function decodeLocalRateLimit(m: Message, what: string): LocalLimit {
  return {
    bucket: m.token_bucket ? bucketOf(m.token_bucket, what) : undefined,
    descriptors: ((m.descriptors ?? []) as Message[]).map((d) => ({
      entries: ((d.entries ?? []) as Message[]).map((e) => ({ key: e.key ?? '', value: e.value ?? '' })),
      bucket: bucketOf(d.token_bucket ?? {}, what),
    })),
    // Neither is on where it is not said.
    enabled: fractionOf(m.filter_enabled?.default_value),
    enforced: fractionOf(m.filter_enforced?.default_value),
    status: m.status?.code || 429,
    fields: ((m.response_headers_to_add ?? []) as Message[]).flatMap((o) => [
      String(o.header?.key).toLowerCase(),
      String(o.header?.value ?? ''),
    ]),
    stage: m.stage ?? 0,
  }
}

export function localRateLimitFilter(name: string, config: Message, what: string): HttpFilter {
  const usual = decodeLocalRateLimit(config, what)
  return {
    name,
    onRequest(exchange, next) {
      const limit = (exchange.settings(name) as LocalLimit | undefined) ?? usual
      const { random } = exchange.context
      if (limit.enabled < 1 && random() >= limit.enabled) return next()
      const now = performance.now()
      let { bucket } = limit
      if (limit.descriptors.length > 0) {
        const found = descriptorsOf(exchange.route()?.limits ?? [], limit.stage, exchange)
        const own = limit.descriptors.find((d) => found.some((f) => same(d.entries, f)))
        if (own) ({ bucket } = own)
      }
      if (!bucket || bucket.take(now)) return next()
      if (limit.enforced < 1 && random() >= limit.enforced) return next()
      exchange.reply({
        status: limit.status,
        flags: 'RL',
        details: 'local_rate_limited',
        body: 'local_rate_limited',
        fields: limit.fields,
      })
    },
  }
}

/** Whether a descriptor is the one that is configured; an empty value there stands for any. */
function same(wanted: readonly DescriptorEntry[], found: readonly DescriptorEntry[]): boolean {
  return (
    wanted.length === found.length &&
    wanted.every((w, i) => w.key === found[i]!.key && (w.value === '' || w.value === found[i]!.value))
  )
}
