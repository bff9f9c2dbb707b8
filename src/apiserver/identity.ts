// Who makes a request, and what the server knows of the request besides the object.

import type { FieldError, Json, KubeObject, ResourceKind } from '#api'

/** An authenticated user. */
export interface User {
  readonly name: string
  readonly groups: readonly string[]
  readonly uid?: string
  readonly extra?: Readonly<Record<string, readonly string[]>>
}

/** The program's own parts, acting in-process. */
export const SYSTEM_USER: User = { name: 'system:sampan', groups: ['system:masters', 'system:authenticated'] }

/** What accompanies a request through the verbs. */
export interface RequestContext {
  readonly user: User
  readonly dryRun: boolean
  /** Whose fields a write makes; "" for the program's own parts, which own none. */
  readonly fieldManager: string
  /** How it writes: an apply brings its own record of owners. */
  readonly operation: 'Update' | 'Apply'
  readonly fieldValidation: 'Strict' | 'Warn' | 'Ignore'
  /** Texts for Warning headers. */
  readonly warnings: string[]
}

export function systemContext(): RequestContext {
  return {
    user: SYSTEM_USER,
    dryRun: false,
    fieldManager: '',
    operation: 'Update',
    fieldValidation: 'Ignore',
    warnings: [],
  }
}

/** A write on its way to the store. */
export interface AdmissionRequest {
  readonly kind: ResourceKind
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE'
  readonly subresource: string
  readonly namespace: string
  readonly context: RequestContext
  /** May be changed by mutators. */
  readonly object: KubeObject
  readonly old?: KubeObject
}

/**
 * A step of admission. `mutate` may change the object; `validate` returns what is wrong with it, `warn` what is odd.
 * Throw a StatusError to refuse for another reason.
 */
export interface Admission {
  readonly name: string
  mutate?(request: AdmissionRequest): void | Promise<void>
  validate?(request: AdmissionRequest): FieldError[] | Promise<FieldError[]>
  /** What the client is told of an object that is taken. */
  warn?(request: AdmissionRequest): readonly string[]
  /** The write is over: what was held for it meanwhile may go. Called once for each call of `mutate`. */
  settle?(request: AdmissionRequest, stored: boolean): void
}

/** JSON of a request's options, lower-cased by nobody. */
export type Options = Json
