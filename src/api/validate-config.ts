// Validation of ConfigMaps and Secrets.

import { type FieldError, field } from './status.ts'
import { type Json, sameJson } from './types.ts'

export function configMap(o: Json, old?: Json): FieldError[] {
  return [
    ...dataKeys(o.data, 'data'),
    ...dataKeys(o.binaryData, 'binaryData'),
    ...Object.keys(o.binaryData ?? {})
      .filter((key) => o.data && key in o.data)
      .map((key) => field.invalid(`data[${key}]`, key, 'duplicate of key present in binaryData')),
    ...dataSize(o, ''),
    ...immutableData(o, old),
  ]
}

function dataKeys(data: Json | undefined, path: string): FieldError[] {
  return Object.keys(data ?? {}).flatMap((key) =>
    key.length <= 253 && /^[-._a-zA-Z0-9]+$/.test(key) && key !== '.' && key !== '..'
      ? []
      : [
          field.invalid(
            `${path}[${key}]`,
            key,
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
          ),
        ],
  )
}

/** Bytes of a ConfigMap's or a Secret's data at most. */
const MAX_DATA = 1024 * 1024

function dataSize(o: Json, path: string): FieldError[] {
  let size = 0
  for (const value of Object.values(o.data ?? {})) size += path === 'data' ? decodedLength(value) : byteLength(value)
  for (const value of Object.values(o.binaryData ?? {})) size += decodedLength(value)
  return size > MAX_DATA ? [field.tooLong(path, MAX_DATA)] : []
}

const byteLength = (text: unknown) => Buffer.byteLength(String(text))
const decodedLength = (text: unknown) => Math.floor((String(text).replace(/[\s=]+$/, '').length * 3) / 4)

function immutableData(o: Json, old?: Json): FieldError[] {
  if (!old?.immutable) return []
  const problems: FieldError[] = []
  if (!o.immutable) problems.push(field.forbidden('immutable', 'field is immutable when `immutable` is set'))
  for (const key of ['data', 'binaryData'])
    if (!sameJson(o[key], old[key])) problems.push(field.forbidden(key, 'field is immutable when `immutable` is set'))
  return problems
}

/** Keys that a Secret of a type must have. */
const SECRET_KEYS: Record<string, readonly string[]> = {
  'kubernetes.io/tls': ['tls.crt', 'tls.key'],
  'kubernetes.io/dockerconfigjson': ['.dockerconfigjson'],
  'kubernetes.io/dockercfg': ['.dockercfg'],
  'kubernetes.io/ssh-auth': ['ssh-privatekey'],
}

export function secret(o: Json, old?: Json): FieldError[] {
  const problems = [...dataKeys(o.data, 'data'), ...dataSize(o, 'data'), ...immutableData(o, old)]
  for (const [key, value] of Object.entries(o.data ?? {}))
    if (typeof value === 'string' && !/^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(value))
      problems.push(field.invalid(`data[${key}]`, '<secret>', 'illegal base64 data'))
  for (const key of SECRET_KEYS[o.type] ?? [])
    if (!o.data || !(key in o.data)) problems.push(field.required(`data[${key}]`))
  if (old && old.type !== o.type) problems.push(field.invalid('type', o.type, 'field is immutable'))
  return problems
}
