// Checks that the validators of many kinds share, in upstream's words.

import { isIPv4, isIPv6 } from 'node:net'
import { checkLabel1123, checkLabels, checkQualifiedName } from './names.ts'
import { parseQuantity } from './quantity.ts'
import { type FieldError, field } from './status.ts'
import { type Json, sameJson } from './types.ts'

export const isPort = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value > 0 && value < 65536

/** "must be between 1 and 65535, inclusive". */
export function portNumber(value: unknown, path: string): FieldError[] {
  return isPort(value) ? [] : [field.invalid(path, value ?? 0, 'must be between 1 and 65535, inclusive')]
}

const SERVICE_NAME = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/

/** What is wrong with a name of a port (IANA_SVC_NAME, RFC 6335). */
export function portNameProblems(name: string): string[] {
  const problems: string[] = []
  if (name.length > 15) problems.push('must be no more than 15 characters')
  if (!SERVICE_NAME.test(name)) problems.push('must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)')
  if (!/[a-z]/.test(name)) problems.push('must contain at least one letter (a-z)')
  if (name.includes('--')) problems.push('must not contain consecutive hyphens')
  return problems
}

/** A port by number or by name. */
export function portNumberOrName(value: unknown, path: string): FieldError[] {
  if (typeof value === 'number') return portNumber(value, path)
  return portNameProblems(String(value)).map((p) => field.invalid(path, value, p))
}

export function nonNegative(value: unknown, path: string): FieldError[] {
  return typeof value === 'number' && value < 0
    ? [field.invalid(path, value, 'must be greater than or equal to 0')]
    : []
}

export function oneOf(value: unknown, path: string, supported: readonly string[], required = false): FieldError[] {
  if (value === undefined || value === null || value === '') return required ? [field.required(path)] : []
  return supported.includes(String(value)) ? [] : [field.notSupported(path, value, supported)]
}

export function percentOrInt(value: unknown, path: string): FieldError[] {
  if (value === undefined) return []
  if (typeof value === 'number') return nonNegative(value, path)
  if (!/^\d+%$/.test(String(value)))
    return [
      field.invalid(
        path,
        value,
        "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
      ),
    ]
  return Number.parseInt(String(value), 10) > 100 ? [field.invalid(path, value, 'must not be greater than 100%')] : []
}

export function ipAddress(value: unknown, path: string): FieldError[] {
  return isIPv4(String(value)) || isIPv6(String(value))
    ? []
    : [field.invalid(path, value, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)')]
}

export function cidrBlock(value: unknown, path: string): FieldError[] {
  const [ip = '', bits = '', more] = String(value).split('/')
  const max = isIPv4(ip) ? 32 : isIPv6(ip) ? 128 : -1
  return more === undefined && /^\d{1,3}$/.test(bits) && Number(bits) <= max
    ? []
    : [field.invalid(path, value, 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)')]
}

const QUANTITY_MESSAGE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"

/** A quantity that is not negative. */
export function quantity(value: unknown, path: string): FieldError[] {
  const amount = parseQuantity(value as string)
  if (amount === undefined) return [field.invalid(path, value, QUANTITY_MESSAGE)]
  return amount < 0 ? [field.invalid(path, value, 'must be greater than or equal to 0')] : []
}

export function immutable(now: unknown, before: unknown, path: string): FieldError[] {
  return sameJson(now ?? null, before ?? null) ? [] : [field.invalid(path, now ?? null, 'field is immutable')]
}

/** A metav1.LabelSelector. */
export function selectorProblems(selector: Json | undefined, path: string): FieldError[] {
  if (!selector) return []
  const problems = checkLabels(selector.matchLabels, `${path}.matchLabels`)
  for (const [i, e] of ((selector.matchExpressions ?? []) as Json[]).entries()) {
    const at = `${path}.matchExpressions[${i}]`
    const count = e.values?.length ?? 0
    if (e.operator === 'In' || e.operator === 'NotIn') {
      if (count === 0)
        problems.push(field.required(`${at}.values`, "must be specified when `operator` is 'In' or 'NotIn'"))
    } else if (e.operator === 'Exists' || e.operator === 'DoesNotExist') {
      if (count > 0)
        problems.push(
          field.forbidden(`${at}.values`, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"),
        )
    } else problems.push(field.invalid(`${at}.operator`, e.operator ?? '', 'not a valid selector operator'))
    for (const p of checkQualifiedName(e.key ?? '')) problems.push(field.invalid(`${at}.key`, e.key ?? '', p))
  }
  return problems
}

export function label(value: unknown, path: string): FieldError[] {
  return checkLabel1123(String(value)).map((p) => field.invalid(path, value, p))
}

/** "exactly one of these", as a list of those that are set. */
export const given = (object: Json, keys: readonly string[]): string[] =>
  keys.filter((k) => object[k] !== undefined && object[k] !== null)
