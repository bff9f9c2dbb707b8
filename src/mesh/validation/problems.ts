// What the checks of several kinds have in common: problems found, and the form of names, ports, ranges, durations. Pure.

import { isIP } from 'node:net'
import type { FieldError, Json } from '#api'
import { parseDuration } from '#base'
import { socketPath } from '../model/unix-socket.ts'

/** Gathers problems with where they are. */
export class Problems {
  readonly found: FieldError[] = []
  /** What is taken, and hardly meant. */
  readonly warnings: string[] = []

  add(path: string, message: string): void {
    this.found.push({ path, reason: 'FieldValueInvalid', message })
  }

  warn(unless: boolean, message: string): void {
    if (!unless) this.warnings.push(message)
  }

  check(ok: boolean, path: string, message: string): void {
    if (!ok) this.add(path, message)
  }
}

/** Checks a spec; what is wrong is added to the problems. */
export type Check = (spec: Json, problems: Problems) => void

/** The form of a host, with a wildcard or without. */
export const HOST = /^(\*|\*?[a-zA-Z0-9*]([-a-zA-Z0-9_.:]*[a-zA-Z0-9])?)$/
/** The form of a name by RFC 1123. */
export const LABEL = /^[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$/
/** What looks like an address. */
export const IP = /^(\d{1,3}\.){3}\d{1,3}$|:/
export const isPort = (n: unknown): boolean => typeof n === 'number' && n > 0 && n < 65536
export const portMessage = (n: unknown) => `port number ${n} must be in the range 1..65535`

/** A host, which may begin with a wildcard. */
export function host(text: string, path: string, p: Problems): void {
  if (text === '') return p.add(path, 'empty domain name not allowed')
  if (HOST.test(text) && !/\*.*\*/.test(text)) return
  const [first = '', ...labels] = text.split('.')
  const bad = labels.find((l) => !LABEL.test(l))
  const [domain, label] =
    /^(\*|\*?[-a-zA-Z0-9_]+)$/.test(first) && bad !== undefined ? [labels.join('.'), bad] : [text, first]
  p.add(path, `domain name ${JSON.stringify(domain)} invalid (label ${JSON.stringify(label)} invalid)`)
}

/** A host whose wildcard, if it has one, is its whole first label. */
export function wholeHost(text: string, path: string, p: Problems): void {
  host(text, path, p)
  p.check(!/^\*[^.]/.test(text), path, `partial wildcard ${JSON.stringify(text)} not allowed`)
}

/** The form of labels of a selector of our own. */
export const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/

/** The address of a socket: an absolute path, or an abstract name; never a folder. */
export function socket(address: string, path: string, p: Problems): void {
  const text = socketPath(address)
  if (text.startsWith('@')) return
  p.check(text.startsWith('/') && !text.endsWith('/'), path, `${text} is not an absolute path to a file`)
}

/** The labels of a selector. */
export function selectorLabels(labels: Readonly<Record<string, string>> | undefined, path: string, p: Problems): void {
  for (const [k, v] of Object.entries(labels ?? {})) {
    const pair = JSON.stringify(`${k}=${v}`)
    p.check(k !== '', path, `empty key is not supported in selector: ${pair}`)
    p.check(!`${k}${v}`.includes('*'), path, `wildcard is not supported in selector: ${pair}`)
  }
}

/** For `Problems.warn`: a selector that is there and selects everything. */
export const unlabelled = (selector: Json | undefined, what: string): [boolean, string] => [
  !selector || Object.keys(selector.labels ?? {}).length > 0,
  `${what}: workload selector specified without labels, will be applied to all services in namespace`,
]

/** Checks where an object is seen: ".", "*", "~" or names of namespaces. */
export function exportTo(list: string[] | undefined, path: string, p: Problems): void {
  const seen = new Set<string>()
  for (const [i, to] of (list ?? []).entries()) {
    p.check(
      ['.', '*', '~'].includes(to) || LABEL.test(to),
      `${path}[${i}]`,
      `invalid namespace ${JSON.stringify(to)}; ".", "*", "~" or a name is wanted`,
    )
    p.check(!seen.has(to), `${path}[${i}]`, `duplicate entries in exportTo for entry ${to}`)
    seen.add(to)
  }
  if (seen.size > 1)
    for (const only of ['*', '~']) p.check(!seen.has(only), path, `cannot have both public (*) and other entries`)
}

/** True for an IP address or a range of them. */
export const cidr = (text: string): boolean => {
  const [address = '', length = '0', more] = text.split('/')
  const family = isIP(address)
  return family > 0 && more === undefined && /^\d{1,3}$/.test(length) && Number(length) <= (family === 4 ? 32 : 128)
}

/** Checks that a duration is at least so many milliseconds, if it can be read. */
export function durationAtLeast(text: string | undefined, least: number, path: string, p: Problems): void {
  const ms = text === undefined ? undefined : parseDuration(text)
  if (ms !== undefined) p.check(ms >= least, path, `duration must be greater than ${least}ms`)
}
