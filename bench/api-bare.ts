// A node:https server that answers the same bytes without thinking: what the transport alone costs.

import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { MAPS } from './api-objects.ts'

const folder = process.argv[2] ?? ''
const read = (name: string) => readFileSync(join(folder, name), 'utf8')
const one = readFileSync(join(folder, 'answer.json'))
const list = readFileSync(join(folder, 'list.json'))
const server = createServer(
  {
    cert: read('server.crt'),
    key: read('server.key'),
    ca: read('ca.crt'),
    requestCert: true,
    rejectUnauthorized: false,
  },
  (request, response) => {
    const answer = () => {
      const body = request.method === 'GET' && request.url === MAPS ? list : one
      response.writeHead(request.method === 'POST' ? 201 : 200, {
        'Content-Type': 'application/json',
        'Cache-Control': 'no-cache, private',
        'Content-Length': body.length,
      })
      response.end(body)
    }
    if (request.method === 'GET') return answer()
    request.on('data', () => {})
    request.on('end', answer)
  },
)
server.listen(0, '127.0.0.1', () =>
  process.stdout.write(`${JSON.stringify({ port: (server.address() as AddressInfo).port })}\n`),
)
