// Nothing is lost in change: rollouts, canary shifts and a control plane that is killed, under 500 requests a second
// through two sidecars, over HTTP/1.1, HTTP/2, gRPC streams and WebSockets. ROUNDS says how many of each.

import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { eventually, ok, testCluster } from '#kit'

const ROUNDS = Number(process.env.ROUNDS ?? 2)
const cluster = testCluster('load')
const { sampan, kubectl } = cluster

const version = (v: string) => `
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo-${v}}
spec:
  replicas: 2
  selector: {matchLabels: {app: echo, version: ${v}}}
  template:
    metadata: {labels: {app: echo, version: ${v}}}
    spec: {containers: [{name: echo, image: "sampan.local/echo:1", env: [{name: VERSION, value: ${v}}]}]}
---`
const MANIFEST = `
apiVersion: v1
kind: Service
metadata: {name: echo}
spec: {selector: {app: echo}, ports: [{name: http, port: 8080}, {name: http2, port: 8082}, {name: grpc, port: 8083, targetPort: 8082}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo}
spec: {host: echo, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---${version('v1')}${version('v2')}
apiVersion: apps/v1
kind: Deployment
metadata: {name: client}
spec:
  selector: {matchLabels: {app: client}}
  template:
    metadata: {labels: {app: client}}
    spec: {terminationGracePeriodSeconds: 0, containers: [{name: client, image: "sampan.local/echo:1", command: [node, /app/echo/client.mjs]}]}
`
/** All traffic to the versions by weight; nothing is tried again. */
const shift = (one: number) => `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: echo}
spec:
  hosts: [echo]
  http:
  - retries: {attempts: 0}
    route: [{destination: {host: echo, subset: v1}, weight: ${one}}, {destination: {host: echo, subset: v2}, weight: ${100 - one}}]
`

/** What the client has counted so far. */
interface Count {
  readonly sent: number
  readonly lost: readonly string[]
  readonly seen: Readonly<Record<string, number>>
  /** When each version answered last, milliseconds. */
  readonly last: Readonly<Record<string, number>>
}

/** What curl says of the client's own page, asked within its pod. */
const curl = async (...args: string[]) =>
  (await cluster.exec('kubectl', ['exec', 'deploy/client', '-c', 'client', '--', 'curl', '-s', ...args])).stdout

const count = async (): Promise<Count> => JSON.parse(await curl('http://127.0.0.1:9999/'))

before(async () => {
  await ok(sampan('up'))
  await ok(kubectl('label namespace default istio-injection=enabled'))
  await ok(kubectl('apply -f -', MANIFEST))
  await ok(kubectl('apply -f -', shift(50)))
  for (const name of ['echo-v1', 'echo-v2', 'client']) await ok(kubectl(`rollout status deploy/${name} --timeout=60s`))
  await eventually(async () => {
    await curl('-X', 'POST', 'http://127.0.0.1:9999/begin')
    assert.ok((await count()).sent > 0)
  })
})
after(() => cluster[Symbol.asyncDispose]())

/** Nothing may be lost, and work must have been done, while `change` goes on. */
async function undisturbed(what: string, change: () => Promise<void>): Promise<void> {
  const start = await count()
  await change()
  const end = await count()
  assert.deepEqual(end.lost.slice(start.lost.length), [], `${what}: of ${end.sent - start.sent} requests`)
  assert.ok(end.sent - start.sent > 100, `${what}: ${end.sent - start.sent} requests were made`)
  console.log(`${what}: ${end.sent - start.sent} requests, none lost`)
}

test(`${ROUNDS} rolling updates lose no request`, { timeout: 900_000 }, () =>
  undisturbed('rolling updates', async () => {
    for (let i = 0; i < ROUNDS; i++) {
      await ok(kubectl(`set env deploy/echo-v1 ROUND=${i}`))
      await ok(kubectl('rollout status deploy/echo-v1 --timeout=90s'))
    }
  }),
)

test(`${ROUNDS} canary shifts lose no request`, { timeout: 900_000 }, () =>
  undisturbed('canary shifts', async () => {
    for (let i = 0; i < ROUNDS; i++)
      for (const one of [100, 50, 0, 50]) {
        await ok(kubectl('apply -f -', shift(one)))
        await new Promise((resolve) => setTimeout(resolve, 300))
      }
  }),
)

test('a version that is scaled away loses no request', { timeout: 900_000 }, () =>
  undisturbed('scale-downs', async () => {
    for (const replicas of [1, 2]) {
      await ok(kubectl(`scale deploy/echo-v2 --replicas=${replicas}`))
      await ok(kubectl('rollout status deploy/echo-v2 --timeout=90s'))
    }
  }),
)

test(`${ROUNDS} rolling updates that outlive their server lose no request`, { timeout: 900_000 }, () =>
  undisturbed('rolling updates and kill -9', async () => {
    for (let i = 0; i < ROUNDS; i++) {
      await ok(kubectl(`set env deploy/echo-v1 KILLED=${i}`))
      // At another stage of the update each time.
      await new Promise((resolve) => setTimeout(resolve, 300 + ((i * 700) % 3500)))
      await killServer()
      await ok(sampan('up'))
      await ok(kubectl('rollout status deploy/echo-v1 --timeout=90s'))
    }
  }),
)

async function killServer(): Promise<void> {
  const { pid } = JSON.parse(await ok(sampan('status', '-o', 'json'))) as { pid: number }
  process.kill(pid, 'SIGKILL')
  await new Promise((resolve) => setTimeout(resolve, 500))
}

test(`${ROUNDS} kill -9 of the server lose no request, and changes are pushed within a second of its return`, {
  timeout: 900_000,
}, async () => {
  for (let i = 0; i < ROUNDS; i++)
    await undisturbed('kill -9', async () => {
      await killServer()
      await ok(sampan('up'))
      const begun = Date.now()
      const one = i % 2 ? 100 : 0
      await ok(kubectl('apply -f -', shift(one)))
      const applied = Date.now()
      const gone = one ? 'v2' : 'v1'
      let last = 0
      await eventually(async () => {
        const a = await count()
        await new Promise((resolve) => setTimeout(resolve, 200))
        const b = await count()
        last = b.last[gone] ?? begun
        assert.equal((b.seen[gone] ?? 0) - (a.seen[gone] ?? 0), 0)
      })
      console.log(
        `the last answer by the old rule ${last - begun} ms after the server’s return, ${last - applied} ms after the new rule was taken`,
      )
    })
})
