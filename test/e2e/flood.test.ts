// One client at full speed beside a node and controllers: no lease is missed and Deployments become ready.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:https'
import { test } from 'node:test'
import { parse } from 'yaml'
import { eventually, ok, type TestCluster, testCluster } from '#kit'

const CONNECTIONS = 64
/** A node renews its lease this often, seconds; the node controller waits four times as long. */
const RENEWED_S = 10

/** Creates ConfigMaps as fast as they are taken until `signal`; resolves with how many were. */
async function flood(cluster: TestCluster, signal: AbortSignal): Promise<number> {
  const { clusters, users } = parse(readFileSync(cluster.kubeconfig, 'utf8'))
  const { server, 'certificate-authority-data': ca } = clusters[0].cluster
  const { 'client-certificate-data': cert, 'client-key-data': key } = users[0].user
  const pem = (text: string) => Buffer.from(text, 'base64').toString()
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS, ca: pem(ca), cert: pem(cert), key: pem(key) })
  let created = 0
  const one = (name: string) =>
    new Promise<void>((resolve, reject) => {
      const body = JSON.stringify({ metadata: { name }, data: { text: 'x'.repeat(1000) } })
      const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length }
      const call = request(`${server}/api/v1/namespaces/default/configmaps`, { method: 'POST', agent, headers })
      call.on('response', (response) => {
        if (response.statusCode === 201) created++
        response.resume().on('end', resolve)
      })
      call.on('error', reject).end(body)
    })
  await Promise.all(
    Array.from({ length: CONNECTIONS }, async (_, c) => {
      for (let i = 0; !signal.aborted; i++) await one(`flood-${c}-${i}`)
    }),
  )
  agent.destroy()
  return created
}

test('a flood of writes delays neither the lease of the node nor a Deployment', async () => {
  await using cluster = testCluster('flood')
  await ok(cluster.sampan('up'))
  const stop = new AbortController()
  const flooded = flood(cluster, stop.signal)
  const renewals: number[] = []
  const watch = (async () => {
    while (!stop.signal.aborted) {
      const text = await ok(cluster.kubectl('-n kube-node-lease get lease -o jsonpath={.items[0].spec.renewTime}'))
      const time = Date.parse(text)
      if (time !== renewals.at(-1)) renewals.push(time)
      await new Promise((resolve) => setTimeout(resolve, 500))
    }
  })()
  await ok(cluster.kubectl('create deployment web --image=oliwave/kubia:v1 --replicas=3'))
  await ok(cluster.kubectl('rollout status deployment/web --timeout=30s'))
  await eventually(async () => assert.ok(renewals.length >= 3, `renewed at ${renewals}`), 4 * RENEWED_S)
  stop.abort()
  await watch
  const created = await flooded
  assert.ok(created > 1000, `the flood was one: ${created} created`)
  for (const [i, at] of renewals.slice(1).entries())
    assert.ok(at - renewals[i]! < 1.5 * RENEWED_S * 1000, `renewed at ${renewals}`)
})
