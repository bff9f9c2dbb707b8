// API errors: metav1.Status with the reasons and wordings clients look for.

import { SampanError } from '#base'
import type { Json } from './types.ts'

/** One wrong field: path, what is wrong, in the words of field.Error. */
export interface FieldError {
  path: string
  reason:
    | 'FieldValueRequired'
    | 'FieldValueInvalid'
    | 'FieldValueNotFound'
    | 'FieldValueNotSupported'
    | 'FieldValueDuplicate'
    | 'FieldValueForbidden'
    | 'FieldValueTooLong'
    | 'FieldValueTooMany'
    | 'FieldValueTypeInvalid'
  message: string
}

/** An error that the API answers with a Status of this HTTP code and reason. */
export class StatusError extends SampanError {
  readonly status: Json

  constructor(code: number, reason: string, message: string, details?: Json, cause?: unknown) {
    super(reason, message, cause === undefined ? undefined : { cause })
    this.status = {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: {},
      status: 'Failure',
      message,
      reason,
      ...(details ? { details } : {}),
      code,
    }
  }

  get httpCode(): number {
    return this.status.code as number
  }
}

const resourceName = (group: string, resource: string) => (group ? `${resource}.${group}` : resource)

export interface ResourceRef {
  group: string
  plural: string
}

export const errors = {
  notFound: (r: ResourceRef, name: string) =>
    new StatusError(404, 'NotFound', `${resourceName(r.group, r.plural)} "${name}" not found`, {
      name,
      ...(r.group ? { group: r.group } : {}),
      kind: r.plural,
    }),
  alreadyExists: (r: ResourceRef, name: string) =>
    new StatusError(409, 'AlreadyExists', `${resourceName(r.group, r.plural)} "${name}" already exists`, {
      name,
      ...(r.group ? { group: r.group } : {}),
      kind: r.plural,
    }),
  conflict: (r: ResourceRef, name: string, why: string) =>
    new StatusError(
      409,
      'Conflict',
      `Operation cannot be fulfilled on ${resourceName(r.group, r.plural)} "${name}": ${why}`,
      { name, ...(r.group ? { group: r.group } : {}), kind: r.plural },
    ),
  invalid: (kind: string, group: string, name: string, causes: readonly FieldError[]) => {
    const lines = causes.map((c) => `${c.path}: ${c.message}`)
    const text = lines.length === 1 ? lines[0] : `[${lines.join(', ')}]`
    return new StatusError(422, 'Invalid', `${resourceName(group, kind)} "${name}" is invalid: ${text}`, {
      name,
      ...(group ? { group } : {}),
      kind,
      causes: causes.map((c) => ({ reason: c.reason, message: c.message, field: c.path })),
    })
  },
  badRequest: (message: string) => new StatusError(400, 'BadRequest', message),
  unauthorized: () => new StatusError(401, 'Unauthorized', 'Unauthorized'),
  forbidden: (r: ResourceRef, name: string, why: string) =>
    new StatusError(
      403,
      'Forbidden',
      `${resourceName(r.group, r.plural)}${name ? ` "${name}"` : ''} is forbidden: ${why}`,
      { ...(name ? { name } : {}), ...(r.group ? { group: r.group } : {}), kind: r.plural },
    ),
  forbiddenPath: (message: string) => new StatusError(403, 'Forbidden', message, {}),
  methodNotAllowed: (what: string) =>
    new StatusError(405, 'MethodNotAllowed', what || 'the server does not allow this method on the requested resource'),
  notAcceptable: (message: string) => new StatusError(406, 'NotAcceptable', message),
  unsupportedMediaType: (message: string) => new StatusError(415, 'UnsupportedMediaType', message),
  tooLarge: (limit: number, why = '') =>
    new StatusError(
      413,
      'RequestEntityTooLarge',
      `Request entity too large: limit is ${limit} bytes${why && `: ${why}`}`,
    ),
  tooManyOperations: (limit: number, count: number) =>
    new StatusError(
      413,
      'RequestEntityTooLarge',
      `Request entity too large: The allowed maximum operations in a JSON patch is ${limit}, got ${count}`,
    ),
  expired: (message: string) => new StatusError(410, 'Expired', message),
  gone: (message: string) => new StatusError(410, 'Gone', message),
  tooManyRequests: (message: string, retryAfterSeconds: number) =>
    new StatusError(429, 'TooManyRequests', message, { retryAfterSeconds }),
  timeout: (message: string) => new StatusError(504, 'Timeout', message, { retryAfterSeconds: 1 }),
  internal: (cause: unknown) =>
    new StatusError(
      500,
      'InternalError',
      `Internal error occurred: ${cause instanceof Error ? cause.message : String(cause)}`,
      undefined,
      cause,
    ),
  unavailable: (message: string) => new StatusError(503, 'ServiceUnavailable', message),
  unknownPath: () => new StatusError(404, 'NotFound', 'the server could not find the requested resource', {}),
} as const

const is = (reason: string) => (error: unknown) => error instanceof StatusError && error.code === reason
export const isNotFound = is('NotFound')
export const isAlreadyExists = is('AlreadyExists')
export const isConflict = is('Conflict')
export const isTooManyRequests = is('TooManyRequests')
export const isExpired = (error: unknown) => is('Expired')(error) || is('Gone')(error)

/** Field errors in the words of k8s.io/apimachinery/pkg/util/validation/field. */
export const field = {
  required: (path: string, detail = ''): FieldError => ({
    path,
    reason: 'FieldValueRequired',
    message: detail ? `Required value: ${detail}` : 'Required value',
  }),
  invalid: (path: string, value: unknown, detail: string): FieldError => ({
    path,
    reason: 'FieldValueInvalid',
    message: `Invalid value: ${show(value)}${detail ? `: ${detail}` : ''}`,
  }),
  notSupported: (path: string, value: unknown, supported: readonly string[]): FieldError => ({
    path,
    reason: 'FieldValueNotSupported',
    message: `Unsupported value: ${show(value)}: supported values: ${supported.map((s) => `"${s}"`).join(', ')}`,
  }),
  duplicate: (path: string, value: unknown): FieldError => ({
    path,
    reason: 'FieldValueDuplicate',
    message: `Duplicate value: ${show(value)}`,
  }),
  forbidden: (path: string, detail: string): FieldError => ({
    path,
    reason: 'FieldValueForbidden',
    message: `Forbidden: ${detail}`,
  }),
  notFound: (path: string, value: unknown): FieldError => ({
    path,
    reason: 'FieldValueNotFound',
    message: `Not found: ${show(value)}`,
  }),
  tooMany: (path: string, actual: number, max: number): FieldError => ({
    path,
    reason: 'FieldValueTooMany',
    message: `Too many: ${actual}: must have at most ${max} items`,
  }),
  tooLong: (path: string, max: number): FieldError => ({
    path,
    reason: 'FieldValueTooLong',
    message: `Too long: may not be more than ${max} bytes`,
  }),
}

function show(value: unknown): string {
  return typeof value === 'string' ? JSON.stringify(value) : (JSON.stringify(value) ?? 'null')
}
