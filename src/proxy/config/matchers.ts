// String, header and query matchers out of xDS. What cannot be used is refused with a reason.

import { readFileSync } from 'node:fs'
import { SampanError } from '#base'
import { compileRe2, type Re2 } from '#base/re2'
import type { Message } from '#wire'
import type { HeaderMatch, StringMatch } from './model.ts'

export function refuse(what: string, why: string): never {
  throw new SampanError('BadResource', `${what}: ${why}`)
}

export const ANY: StringMatch = { test: () => true }

export function re2(regex: string, what: string): Re2 {
  try {
    return compileRe2(regex)
  } catch (error) {
    return refuse(what, `invalid regex: ${(error as Error).message}`)
  }
}

/** Envoy matches a regex against the whole value. */
export function compileRegex(regex: string, what: string): StringMatch {
  const compiled = re2(regex, what)
  return { test: (v) => compiled.matches(v) }
}

/** envoy.type.matcher.v3.StringMatcher. */
export function compileString(m: Message | undefined, what: string): StringMatch {
  if (!m) return ANY
  const fold = m.ignore_case ? (s: string) => s.toLowerCase() : (s: string) => s
  const { exact, prefix, suffix, contains } = m
  if (exact !== undefined) return literal(fold(exact), fold, (v, w) => v === w)
  if (prefix !== undefined) return literal(fold(prefix), fold, (v, w) => v.startsWith(w))
  if (suffix !== undefined) return literal(fold(suffix), fold, (v, w) => v.endsWith(w))
  if (contains !== undefined) return literal(fold(contains), fold, (v, w) => v.includes(w))
  if (m.safe_regex) return compileRegex(m.safe_regex.regex, what)
  return refuse(what, 'has no match pattern')
}

const literal = (
  wanted: string,
  fold: (s: string) => string,
  fits: (value: string, wanted: string) => boolean,
): StringMatch => ({ test: (v) => fits(fold(v), wanted) })

/** envoy.config.route.v3.HeaderMatcher, its older forms included. */
export function compileHeader(h: Message, what: string): HeaderMatch {
  const where = `${what}.headers[${h.name}]`
  const legacy =
    h.exact_match !== undefined
      ? { exact: h.exact_match }
      : h.prefix_match !== undefined
        ? { prefix: h.prefix_match }
        : h.suffix_match !== undefined
          ? { suffix: h.suffix_match }
          : h.contains_match !== undefined
            ? { contains: h.contains_match }
            : h.safe_regex_match
              ? { safe_regex: h.safe_regex_match }
              : undefined
  const text = h.string_match ?? legacy
  const range = h.range_match
  return {
    name: String(h.name).toLowerCase(),
    match: text ? compileString(text, where) : range ? inRange(range) : undefined,
    // "present_match: false" is the field's absence.
    invert: (h.invert_match ?? false) !== (h.present_match === false),
    missingIsEmpty: h.treat_missing_header_as_empty ?? false,
  }
}

function inRange({ start = 0, end = 0 }: Message): StringMatch {
  return { test: (v) => /^[+-]?\d+$/.test(v) && Number(v) >= start && Number(v) < end }
}

/** Whether a field's value, undefined when it is missing, fits. */
export function headerFits(h: HeaderMatch, value: string | undefined): boolean {
  if (h.match === undefined) return (value !== undefined) !== h.invert
  const looked = value ?? (h.missingIsEmpty ? '' : undefined)
  // Of a field that is not there nothing can be said, nor the contrary.
  return looked !== undefined && h.match.test(looked) !== h.invert
}

/** Whether one of a field's values fits, or with `invert` none of them. */
export function fieldsFit(h: HeaderMatch, fields: readonly string[]): boolean {
  let there = false
  for (let i = 0; i < fields.length; i += 2) {
    if (fields[i] !== h.name) continue
    if (h.match === undefined || h.match.test(fields[i + 1]!)) return !h.invert
    there = true
  }
  return there ? h.invert : headerFits(h, undefined)
}

/** The share, 0 to 1, of a FractionalPercent. */
export function fractionOf(m: Message | undefined): number {
  if (!m) return 0
  return (m.numerator ?? 0) / ([100, 10_000, 1_000_000][m.denominator ?? 0] ?? 100)
}

/** The bytes of a DataSource. */
export function dataOf(m: Message | undefined): Buffer {
  if (m?.inline_string !== undefined) return Buffer.from(m.inline_string)
  if (m?.filename !== undefined)
    try {
      return readFileSync(m.filename)
    } catch {
      return refuse(`file ${m.filename}`, 'cannot be read')
    }
  return Buffer.from(m?.inline_bytes ?? [])
}
