// A filter of HTTP: it sees each request before it is routed on, and may answer, wait, or change it.

import type { Route } from '../config/model.ts'
import type { ProxyContext } from '../http/context.ts'
import type { LocalReply } from '../http/local-reply.ts'
import type { HttpRequest } from '../http/request.ts'
import type { Source } from '../http/source.ts'
import type { StreamInfo } from '../telemetry/stream-info.ts'

/** What a filter sees of an exchange. */
export interface FilterExchange {
  readonly context: ProxyContext
  /** May be changed until `next` is called. */
  readonly request: HttpRequest
  readonly source: Source
  readonly info: StreamInfo
  /** The client's address as it is believed. */
  readonly client: string
  readonly over: boolean
  /** The route the request takes; found once, until `clearRoute`. */
  route(): Route | undefined
  clearRoute(): void
  /** What the route says for a filter of this name. */
  settings(name: string): unknown
  /** Answers in the proxy's own name; `next` must not be called any more. */
  reply(reply: LocalReply): void
  addFlag(flag: string): void
  /** Called with the head of the answer, whoever made it; the fields may be changed. */
  onResponse(edit: (status: number, fields: string[]) => void): void
  onFinish(done: () => void): void
  /** Calls `done` with the body once it is whole, or with undefined and its beginning when it is longer than `limit`. */
  whole(limit: number, done: (body: Buffer | undefined, begin: Buffer) => void): void
}

export interface HttpFilter {
  /** As configured; a route's settings for it go by this name. */
  readonly name: string
  /** Calls `next`, now or later, or answers. */
  onRequest(exchange: FilterExchange, next: () => void): void
}

/** Whether a route's settings take a filter out. */
export const isDisabled = (settings: unknown): boolean =>
  (settings as { disabled?: boolean } | undefined)?.disabled === true
