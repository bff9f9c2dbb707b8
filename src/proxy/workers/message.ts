// What the agent of a proxy and its workers say to each other.

import type { Told } from '../config/resources.ts'
import type { Tally } from './tally.ts'

/** Resources as they came: a worker puts in force what its agent does. */
export interface Update {
  readonly kind: 'apply'
  readonly type: string
  readonly told: readonly Told[]
  readonly removed: readonly string[]
  readonly whole: boolean
}

export type ToWorker =
  | Update
  /** Routes of a host that are not kept in step any more. */
  | { readonly kind: 'forget'; readonly name: string }
  | { readonly kind: 'tally'; readonly id: number }
  /** Answers say that connections end. */
  | { readonly kind: 'drain' }
  /** No new connections are taken. */
  | { readonly kind: 'close' }

export type FromWorker =
  /** Its addresses are open. */
  | { readonly kind: 'serving' }
  | { readonly kind: 'ask'; readonly what: 'clusters' | 'routes'; readonly name: string }
  | { readonly kind: 'tally'; readonly id: number; readonly tally: Tally }
