// helloworld: says which version and which pod answers. The version is in its environment.
import os from 'node:os'
import { serve } from '../shared/serve.mjs'

const version = process.env.SERVICE_VERSION ?? 'v1'
serve(5000, (request, response) => {
  const path = request.url.split('?')[0]
  if (path === '/health') return response.end('Helloworld is healthy')
  if (path !== '/hello') return response.writeHead(404).end('Not Found\n')
  response.end(`Hello version: ${version}, instance: ${os.hostname()}\n`)
})
