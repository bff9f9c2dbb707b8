// Sidecars that only speak xDS: they ask for everything, by deltas, and acknowledge it.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { deltaAggregatedResources, TYPE, toStruct } from '#api/xds'
import { GrpcClient, type GrpcStream, type Message } from '#wire'

const [folder = '', portText = '', count = '2000', namespaces = '20', services = '50'] = process.argv.slice(2)
const ca = readFileSync(join(folder, 'ca.crt'), 'utf8')

function sidecar(i: number): void {
  const n = i % Number(namespaces)
  const s = Math.floor(i / Number(namespaces)) % Number(services)
  const p = Math.floor(i / (Number(namespaces) * Number(services)))
  const client = new GrpcClient({ host: '127.0.0.1', port: Number(portText), tls: { ca, servername: 'localhost' } })
  let stream: GrpcStream | undefined
  const asked = new Set<string>()
  const ask = (type_url: string, names: readonly string[]) => {
    const fresh = names.filter((name) => !asked.has(name))
    for (const name of fresh) asked.add(name)
    if (fresh.length > 0 || names.length === 0) stream?.send({ type_url, resource_names_subscribe: fresh })
  }
  stream = client.stream(deltaAggregatedResources, {
    onMessage: (m: Message) => {
      stream?.send({ type_url: m.type_url, response_nonce: m.nonce })
      const names = ((m.resources ?? []) as Message[]).map((r) => String(r.name))
      if (m.type_url === TYPE.cluster)
        ask(
          TYPE.endpoint,
          names.filter((name) => name.startsWith('outbound|')),
        )
      if (m.type_url === TYPE.listener) ask(TYPE.route, ['80'])
    },
    onEnd: (error) => {
      if (error) process.stderr.write(`sidecar ${i}: ${error.message}\n`)
    },
  })
  const ip = `10.${n + 1}.${s}.${p + 1}`
  stream.send({
    node: { id: `sidecar~${ip}~app-${s}-${p}.team-${n}~team-${n}.svc.cluster.local`, metadata: toStruct({}) },
    type_url: TYPE.cluster,
    resource_names_subscribe: [],
  })
  stream.send({ type_url: TYPE.listener, resource_names_subscribe: [] })
}

// A few at a time: a machine's pods do not all start in one moment.
let next = 0
const more = () => {
  for (let k = 0; k < 20 && next < Number(count); k++) sidecar(next++)
  if (next < Number(count)) setTimeout(more, 50)
  else process.send?.('all')
}
more()
