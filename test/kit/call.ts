// Requests to a server under test, as a client on the wire sends them.

import { Agent, request } from 'node:https'
import type { Json } from '#api'
import type { TestApi } from './api.ts'

/** Connections are kept, as clients keep them. */
const agent = new Agent({ keepAlive: true })

/** What the server answered. */
export interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: Json
}

/** Sends a request as the administrator, or as nobody. */
export function call(
  api: TestApi,
  method: string,
  path: string,
  body?: unknown,
  options: {
    type?: string
    accept?: string
    anonymous?: boolean
    raw?: string
    headers?: Record<string, string | string[]>
  } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const identity = options.anonymous ? {} : { cert: api.admin.cert, key: api.admin.key }
    const sent = options.raw ?? (body === undefined ? undefined : JSON.stringify(body))
    const headers = {
      // Node sends the body of a DELETE without its length otherwise.
      ...(sent === undefined ? {} : { 'content-length': String(Buffer.byteLength(sent)) }),
      'content-type': options.type ?? 'application/json',
      accept: options.accept ?? 'application/json',
      ...options.headers,
    }
    const r = request(
      { host: '127.0.0.1', port: api.port, path, method, ca: api.ca.cert, ...identity, headers, agent },
      (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (d: string) => (text += d))
        response.on('end', () =>
          resolve({
            status: response.statusCode ?? 0,
            headers: response.headers,
            body: parsed(text),
          }),
        )
      },
    )
    r.on('error', reject)
    r.end(sent)
  })
}

/** One JSON document, or the text: a stream of documents, a page, protobuf. */
function parsed(text: string): Json {
  try {
    return text.startsWith('{') ? JSON.parse(text) : { text }
  } catch {
    return { text }
  }
}
