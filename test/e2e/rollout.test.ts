// Rolling updates under load: through the cluster address, the node port and the Ingress, no request is lost.
// ROLLOUTS says how many; the images have no preStop hooks.

import assert from 'node:assert/strict'
import http from 'node:http'
import { after, before, test } from 'node:test'
import { eventually, ok, testCluster } from '#kit'

const ROLLOUTS = Number(process.env.ROLLOUTS ?? 2)
const cluster = testCluster('rollout')
const { sampan, kubectl } = cluster

const MANIFEST = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "oliwave/kubia:v1"}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: edge, namespace: istio-system}
spec: {type: NodePort, selector: {istio: ingressgateway}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: web.example.com, http: {paths: [{backend: {serviceName: web, servicePort: 80}}]}}]}
`

before(async () => {
  await ok(sampan('up'))
  await ok(kubectl('apply -f -', MANIFEST))
  await ok(kubectl('rollout status deploy/web --timeout=60s'))
})
after(() => cluster[Symbol.asyncDispose]())

interface Load {
  sent: number
  readonly lost: string[]
  readonly seen: Set<string>
}

/** Sends requests one after another until `stop` aborts. */
async function send(url: string, host: string, agent: http.Agent, load: Load, stop: AbortSignal): Promise<void> {
  const once = () =>
    new Promise<void>((resolve) => {
      const lost = (why: string) => {
        load.lost.push(`${new Date().toISOString()} ${url} ${host}: ${why}`)
        resolve()
      }
      const request = http.get(url, { agent, headers: { host }, timeout: 5000 }, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (d: string) => (text += d))
        response.on('error', (e) => lost(e.message))
        response.on('end', () => {
          if (response.statusCode !== 200) return lost(`${response.statusCode} ${text}`)
          const version = /This is (v\d)/.exec(text)?.[1]
          if (!version) return lost(`body ${JSON.stringify(text)}`)
          load.seen.add(version)
          resolve()
        })
      })
      request.on('timeout', () => request.destroy(new Error('timeout')))
      request.on('error', (e) => lost(e.message))
    })
  while (!stop.aborted) {
    load.sent++
    await once()
  }
}

test(`no request is lost in ${ROLLOUTS} rolling updates, by any way in`, { timeout: 600_000 }, async () => {
  const get = async (args: string) => (await ok(kubectl(`get ${args}`))).trim()
  const ip = await get('svc web -o jsonpath={.spec.clusterIP}')
  const port = await get('svc web -o jsonpath={.spec.ports[0].nodePort}')
  const edge = await get('svc edge -n istio-system -o jsonpath={.spec.ports[0].nodePort}')
  const ways = [
    [`http://${ip}/`, 'web'],
    [`http://127.0.0.1:${port}/`, 'web'],
    [`http://127.0.0.1:${edge}/`, 'web.example.com'],
  ] as const
  const load: Load = { sent: 0, lost: [], seen: new Set() }
  for (const [url, host] of ways)
    await eventually(async () => {
      const probe: Load = { sent: 0, lost: [], seen: new Set() }
      const stop = AbortSignal.timeout(50)
      await send(url, host, http.globalAgent, probe, stop)
      assert.deepEqual(probe.lost, [])
    })
  const stop = new AbortController()
  const agents: http.Agent[] = []
  const senders = ways.flatMap(([url, host]) =>
    [true, true, true, false, false].map((keepAlive) => {
      const agent = new http.Agent({ keepAlive, maxSockets: 1 })
      agents.push(agent)
      return send(url, host, agent, load, stop.signal)
    }),
  )
  try {
    for (let i = 0; i < ROLLOUTS; i++) {
      await ok(kubectl(`set image deploy/web web=oliwave/kubia:v${2 - (i % 2)}`))
      await ok(kubectl('rollout status deploy/web --timeout=60s'))
    }
  } finally {
    stop.abort()
    await Promise.all(senders)
  }
  for (const agent of agents) agent.destroy()
  assert.deepEqual(load.lost, [], `${load.lost.length} of ${load.sent} lost`)
  assert.deepEqual([...load.seen].sort(), ['v1', 'v2'])
  console.log(`${load.sent} requests in ${ROLLOUTS} rolling updates, none lost`)
})
