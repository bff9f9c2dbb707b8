// Paths as routes see them: one way to write each (Istio's path normalizations, as Envoy 1.40 does them).

import type { HttpChain } from '../config/model.ts'
import { pathOf } from './request.ts'

const ODD = /\/\.|[%\\"<>^`{|}]/
const UNSAFE = /["<>^`{|}]/g
/** What stands for no step or a step up; parameters behind it do not hide it. */
const DOTS = /^(\.\.?)(?:;.*)?$/
const UNRESERVED = /[A-Za-z0-9\-._~]/
const ESCAPED_SLASH = /%2f|%5c/gi

type Rules = Pick<HttpChain, 'normalizePath' | 'mergeSlashes' | 'escapedSlashes'>

/** A target in its normal form; a refusal, or where the client is sent, when the rules say so. */
export function normalizeTarget(target: string, rules: Rules): string | { reject: true } | { redirect: string } {
  if (target === '*') return target
  const path = pathOf(target)
  const query = target.slice(path.length)
  let own = path
  if (rules.normalizePath && ODD.test(own)) {
    const normal = normalizePath(own)
    if (normal === undefined) return { reject: true }
    own = normal
  }
  let redirect = false
  if (rules.escapedSlashes !== 'keep' && own.search(ESCAPED_SLASH) >= 0) {
    if (rules.escapedSlashes === 'reject') return { reject: true }
    redirect = rules.escapedSlashes === 'redirect'
    own = own.replace(ESCAPED_SLASH, '/')
    if (rules.normalizePath) {
      const normal = normalizePath(own)
      if (normal === undefined) return { reject: true }
      own = normal
    }
  }
  if (rules.mergeSlashes && own.includes('//')) own = own.replace(/\/{2,}/g, '/')
  if (redirect) return { redirect: own + query }
  return own === path ? target : own + query
}

/**
 * A path without dot segments, backslashes, needless escapes and characters that must be escaped; undefined when it has
 * an escaped NUL. What is no escape at all, and the case of escapes, is left as it is.
 */
export function normalizePath(path: string): string | undefined {
  if (path.includes('%00')) return undefined
  const plain = path
    .replaceAll('\\', '/')
    .replace(/%[0-9a-f]{2}/gi, (code) => {
      const char = String.fromCharCode(Number.parseInt(code.slice(1), 16))
      return UNRESERVED.test(char) ? char : code
    })
    .replace(UNSAFE, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`)
  const out: string[] = []
  const segments = plain.split('/').slice(1)
  for (const [i, segment] of segments.entries()) {
    const dots = DOTS.exec(segment)?.[1]
    if (!dots) out.push(segment)
    else {
      if (dots === '..') out.pop()
      if (i === segments.length - 1) out.push('')
    }
  }
  return `/${out.join('/')}`
}
