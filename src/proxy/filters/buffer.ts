// Requests are read whole before they go on, up to a limit (Envoy's buffer filter).

import type { Message } from '#wire'
import { setField } from '../http/request.ts'
import { type HttpFilter, isDisabled } from './filter.ts'

export function bufferFilter(name: string, config: Message): HttpFilter {
  return {
    name,
    onRequest(exchange, next) {
      const settings = exchange.settings(name) as Message | undefined
      if (isDisabled(settings) || !exchange.request.hasBody || exchange.request.upgrade) return next()
      const limit: number = settings?.buffer?.max_request_bytes?.value ?? config.max_request_bytes?.value ?? 0
      exchange.whole(limit, (body) => {
        if (!body)
          return exchange.reply({
            status: 413,
            flags: '',
            details: 'request_payload_too_large',
            body: 'Payload Too Large',
          })
        setField(exchange.request.fields, 'content-length', String(body.length))
        next()
      })
    },
  }
}
