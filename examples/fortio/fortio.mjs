// fortio: asks a URL once, or many times from several connections, and counts the answers.
import http from 'node:http'
import https from 'node:https'
import { performance } from 'node:perf_hooks'
import { serve } from '../shared/serve.mjs'

const [verb = 'server', ...rest] = process.argv.slice(2)
const flags = { c: 4, n: 0, qps: 8, t: 5 }
const headers = {}
let url = ''
for (let i = 0; i < rest.length; i++) {
  const [, name, given] = /^--?([\w-]+)(?:=(.*))?$/.exec(rest[i]) ?? []
  if (!name) url = rest[i]
  else if (['quiet', 'k', 'stdclient', 'keepalive', 'a'].includes(name)) continue
  else {
    const value = given ?? rest[++i]
    if (name === 'H') headers[value.slice(0, value.indexOf(':')).trim()] = value.slice(value.indexOf(':') + 1).trim()
    else if (name === 't') flags.t = Number.parseFloat(value) * (/m$/.test(value) ? 60 : 1)
    else if (name in flags) flags[name] = Number(value)
  }
}

function ask(agent) {
  const client = url.startsWith('https:') ? https : http
  return new Promise((resolve) => {
    const request = client.get(url, { agent, headers, rejectUnauthorized: false }, (response) => {
      const parts = []
      response.on('data', (part) => parts.push(part))
      response.on('end', () => resolve({ code: response.statusCode, response, body: Buffer.concat(parts) }))
      response.on('error', () => resolve({ code: -1 }))
    })
    request.on('error', (error) => resolve({ code: -1, error }))
  })
}

async function load() {
  const codes = new Map()
  const times = []
  const start = performance.now()
  const end = flags.n > 0 ? Number.POSITIVE_INFINITY : start + flags.t * 1000
  let left = flags.n > 0 ? flags.n : Number.POSITIVE_INFINITY
  let sent = 0
  const worker = async () => {
    const agent = new (url.startsWith('https:') ? https : http).Agent({ keepAlive: true, maxSockets: 1 })
    while (left > 0 && performance.now() < end) {
      left--
      const due = flags.qps > 0 ? start + (sent++ * 1000) / flags.qps : 0
      const wait = due - performance.now()
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait))
      const begun = performance.now()
      const { code } = await ask(agent)
      times.push((performance.now() - begun) / 1000)
      codes.set(code, (codes.get(code) ?? 0) + 1)
    }
    agent.destroy()
  }
  await Promise.all(Array.from({ length: flags.c }, worker))
  const seconds = (performance.now() - start) / 1000
  times.sort((a, b) => a - b)
  const n = times.length
  const at = (p) => times[Math.min(n - 1, Math.floor((n * p) / 100))] ?? 0
  const average = times.reduce((a, b) => a + b, 0) / (n || 1)
  console.log(`Fortio 1.69.5 running at ${flags.qps || 'max'} queries per second: ${url}`)
  console.log(`Ended after ${seconds.toFixed(3)}s : ${n} calls. qps=${(n / seconds).toFixed(5)}`)
  for (const p of [50, 75, 90, 99, 99.9]) console.log(`# target ${p}% ${at(p).toFixed(8)}`)
  console.log(`Sockets used: ${flags.c} (for perfect keepalive, would be ${flags.c})`)
  for (const [code, count] of [...codes].sort(([a], [b]) => a - b))
    console.log(`Code ${String(code).padStart(3)} : ${count} (${((100 * count) / n).toFixed(1)} %)`)
  console.log(
    `All done ${n} calls (plus 0 warmup) ${(average * 1000).toFixed(3)} ms avg, ${(n / seconds).toFixed(1)} qps`,
  )
}

if (verb === 'load') await load()
else if (verb === 'curl') {
  const { code, response, body, error } = await ask(undefined)
  if (error) {
    console.error(error.message)
    process.exit(1)
  }
  console.log(`HTTP/1.1 ${code} ${response.statusMessage}`)
  for (let i = 0; i < response.rawHeaders.length; i += 2)
    console.log(`${response.rawHeaders[i]}: ${response.rawHeaders[i + 1]}`)
  console.log(`\n${body}`)
} else
  serve(8080, (request, response) => {
    if (request.url === '/debug') return response.end(JSON.stringify(request.headers, null, 2))
    request.pipe(response)
  })
