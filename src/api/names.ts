// Names and labels, by the rules of RFC 1123 and RFC 1035 as Kubernetes words them.

import { type FieldError, field } from './status.ts'
import type { Json } from './types.ts'

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/
const LABEL_1035 = /^[a-z]([-a-z0-9]*[a-z0-9])?$/
const QUALIFIED = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/
const LABEL_VALUE = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/

export const SUBDOMAIN_MESSAGE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
export const LABEL_MESSAGE =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
const LABEL_1035_MESSAGE =
  "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
const QUALIFIED_MESSAGE =
  "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
const VALUE_MESSAGE =
  "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"

export function checkLabel1123(value: string): string[] {
  const problems: string[] = []
  if (value.length > 63) problems.push('must be no more than 63 bytes')
  if (!LABEL.test(value)) problems.push(LABEL_MESSAGE)
  return problems
}

export function checkSubdomain(value: string): string[] {
  const problems: string[] = []
  if (value.length > 253) problems.push('must be no more than 253 bytes')
  if (!SUBDOMAIN.test(value)) problems.push(SUBDOMAIN_MESSAGE)
  return problems
}

export function checkLabel1035(value: string): string[] {
  const problems: string[] = []
  if (value.length > 63) problems.push('must be no more than 63 bytes')
  if (!LABEL_1035.test(value)) problems.push(LABEL_1035_MESSAGE)
  return problems
}

/** Path segments only: what RBAC names and some others allow. */
export function checkPathSegment(value: string): string[] {
  if (value === '.' || value === '..') return [`may not be '${value}'`]
  const bad = ['/', '%'].find((c) => value.includes(c))
  return bad ? [`may not contain '${bad}'`] : []
}

/** The name rule of a resource. */
export function checkName(groupResource: string, name: string): string[] {
  switch (groupResource) {
    case 'namespaces':
      return checkLabel1123(name)
    case 'services':
      return checkLabel1035(name)
    case 'roles.rbac.authorization.k8s.io':
    case 'rolebindings.rbac.authorization.k8s.io':
    case 'clusterroles.rbac.authorization.k8s.io':
    case 'clusterrolebindings.rbac.authorization.k8s.io':
      return checkPathSegment(name)
    case 'ipaddresses.networking.k8s.io':
    case 'apiservices.apiregistration.k8s.io':
      return checkPathSegment(name)
    default:
      return checkSubdomain(name)
  }
}

/** A key such as "example.com/name" or "name". */
export function checkQualifiedName(key: string): string[] {
  const parts = key.split('/')
  const problems: string[] = []
  if (parts.length > 2)
    return [
      `a qualified name must consist of alphanumeric characters, '-', '_' or '.' with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')`,
    ]
  const name = parts[parts.length - 1]!
  if (parts.length === 2) {
    if (parts[0] === '') problems.push('prefix part must be non-empty')
    else for (const p of checkSubdomain(parts[0]!)) problems.push(`prefix part ${p}`)
  }
  if (name === '') problems.push('name part must be non-empty')
  else if (name.length > 63) problems.push('name part must be no more than 63 bytes')
  if (!QUALIFIED.test(name)) problems.push(QUALIFIED_MESSAGE)
  return problems
}

export function checkLabels(labels: Json | undefined, path: string): FieldError[] {
  const problems: FieldError[] = []
  for (const [key, value] of Object.entries(labels ?? {})) {
    for (const p of checkQualifiedName(key)) problems.push(field.invalid(path, key, p))
    if (typeof value !== 'string') continue
    if (value.length > 63) problems.push(field.invalid(path, value, 'must be no more than 63 bytes'))
    if (!LABEL_VALUE.test(value)) problems.push(field.invalid(path, value, VALUE_MESSAGE))
  }
  return problems
}

const ANNOTATIONS_LIMIT = 256 * 1024

export function checkAnnotations(annotations: Json | undefined, path: string): FieldError[] {
  const problems: FieldError[] = []
  let size = 0
  for (const [key, value] of Object.entries(annotations ?? {})) {
    for (const p of checkQualifiedName(key.toLowerCase())) problems.push(field.invalid(path, key, p))
    size += key.length + String(value).length
  }
  if (size > ANNOTATIONS_LIMIT)
    problems.push({
      path,
      reason: 'FieldValueTooLong',
      message: `Too long: may not be more than ${ANNOTATIONS_LIMIT} bytes`,
    })
  return problems
}
