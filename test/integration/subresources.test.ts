// Subresources over the wire: what each may change, who may use it, and what is behind a proxy.

import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { networkInterfaces } from 'node:os'
import { test } from 'node:test'
import type { Json } from '#api'
import { call, readyPod, startApi, type TestApi } from '#kit'

const PODS = '/api/v1/namespaces/default/pods'
const pod = (name: string, spec: Json = {}): Json => ({
  metadata: { name, labels: { app: 'web' } },
  spec: { containers: [{ name: 'c', image: 'i:v1' }], ...spec },
})
const as = (user: string) => ({ 'Impersonate-User': user })
const merge = { type: 'application/merge-patch+json' }
const strategic = { type: 'application/strategic-merge-patch+json' }

async function grant(api: TestApi, user: string, resources: string[], verbs: string[]): Promise<void> {
  const rbac = '/apis/rbac.authorization.k8s.io/v1/namespaces/default'
  const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: user }
  await call(api, 'POST', `${rbac}/roles`, { metadata: { name: user }, rules: [{ apiGroups: [''], resources, verbs }] })
  const bound = await call(api, 'POST', `${rbac}/rolebindings`, {
    metadata: { name: user },
    roleRef,
    subjects: [{ kind: 'User', name: user }],
  })
  assert.equal(bound.status, 201)
}

// A request on a subresource that has no handler fell into the verbs of its parent: exec created pods.
test('a right to a subresource is no right to its parent', async () => {
  await using api = await startApi()
  await grant(api, 'runner', ['pods/exec', 'pods/proxy', 'services/proxy'], ['*'])
  await call(api, 'POST', PODS, pod('p'))
  const exec = await call(api, 'POST', `${PODS}/x/exec`, pod('x'), { headers: as('runner') })
  assert.equal(exec.status, 400)
  assert.match(exec.body.message, /Upgrade request required/)
  assert.equal((await call(api, 'GET', `${PODS}/x`)).status, 404)
  const proxy = await call(api, 'DELETE', `${PODS}/p/proxy`, undefined, { headers: as('runner') })
  assert.notEqual(proxy.status, 200)
  assert.equal((await call(api, 'GET', `${PODS}/p`)).status, 200)
  const service = { metadata: { name: 's' }, spec: { ports: [{ port: 80 }] } }
  await call(api, 'POST', '/api/v1/namespaces/default/services/s/proxy', service, { headers: as('runner') })
  assert.equal((await call(api, 'GET', '/api/v1/namespaces/default/services/s')).status, 404)
  assert.equal((await call(api, 'DELETE', `${PODS}/p/status`)).status, 405)
})

test('an apply that creates needs the right to create', async () => {
  await using api = await startApi()
  await grant(api, 'patcher', ['configmaps'], ['patch'])
  const path = '/api/v1/namespaces/default/configmaps/new?fieldManager=m'
  const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'new' }, data: { a: 'b' } }
  const refused = await call(api, 'PATCH', path, body, { type: 'application/apply-patch+yaml', headers: as('patcher') })
  assert.equal(refused.status, 403)
  assert.match(refused.body.message, /cannot create resource "configmaps"/)
})

test('a Role may let its users read their own namespace', async () => {
  await using api = await startApi()
  await grant(api, 'member', ['namespaces'], ['get'])
  assert.equal((await call(api, 'GET', '/api/v1/namespaces/default', undefined, { headers: as('member') })).status, 200)
  assert.equal(
    (await call(api, 'GET', '/api/v1/namespaces/kube-system', undefined, { headers: as('member') })).status,
    403,
  )
})

test('resize changes cpu and memory of containers and nothing else', async () => {
  await using api = await startApi()
  const resources = { requests: { cpu: '100m' }, limits: { cpu: '200m' } }
  await call(api, 'POST', PODS, pod('p', { containers: [{ name: 'c', image: 'i:v1', resources }] }))
  const wanted = { requests: { cpu: '150m' }, limits: { cpu: '300m' } }
  const patch = {
    spec: { hostPID: true, nodeName: 'n', containers: [{ name: 'c', image: 'evil', resources: wanted }] },
  }
  const resized = await call(api, 'PATCH', `${PODS}/p/resize`, patch, strategic)
  assert.equal(resized.status, 200, JSON.stringify(resized.body))
  assert.deepEqual(resized.body.spec.containers[0].resources, wanted)
  assert.deepEqual(
    [resized.body.spec.hostPID, resized.body.spec.nodeName, resized.body.spec.containers[0].image],
    [undefined, undefined, 'i:v1'],
  )
  const none = { spec: { containers: [{ name: 'c', resources: { $patch: 'replace' } }] } }
  const classed = await call(api, 'PATCH', `${PODS}/p/resize`, none, strategic)
  assert.match(classed.body.message, /Pod QOS Class may not change as a result of resizing/)
  const main = await call(
    api,
    'PATCH',
    `${PODS}/p`,
    { spec: { containers: [{ name: 'c', resources: wanted }] } },
    strategic,
  )
  assert.equal(main.status, 200, 'the same resources are no change')
})

test('ephemeral containers are added, and stay as they are', async () => {
  await using api = await startApi()
  await call(api, 'POST', PODS, pod('p'))
  const path = `${PODS}/p/ephemeralcontainers`
  const list = (...items: Json[]) => ({ spec: { hostNetwork: true, ephemeralContainers: items } })
  const added = await call(
    api,
    'PATCH',
    path,
    list({ name: 'debug', image: 'busybox:1', targetContainerName: 'c' }),
    strategic,
  )
  assert.equal(added.status, 200, JSON.stringify(added.body))
  assert.equal(added.body.spec.ephemeralContainers[0].imagePullPolicy, 'IfNotPresent')
  assert.equal(added.body.spec.hostNetwork, undefined)
  const other = await call(api, 'PATCH', path, list({ name: 'debug', image: 'other' }), strategic)
  assert.match(other.body.message, /existing ephemeral containers "debug" may not be changed/)
  const probing = await call(
    api,
    'PATCH',
    path,
    list({ name: 'd2', image: 'i', ports: [{ containerPort: 1 }] }),
    strategic,
  )
  assert.match(
    probing.body.message,
    /spec.ephemeralContainers\[1\].ports: Forbidden: cannot be set for an Ephemeral Container/,
  )
  const created = await call(api, 'POST', PODS, pod('q', { ephemeralContainers: [{ name: 'd', image: 'i' }] }))
  assert.match(created.body.message, /spec.ephemeralContainers: Forbidden: cannot be set on create/)
})

test('an eviction asks the disruption budget, and is told to come back', async () => {
  await using api = await startApi({ controllers: true })
  const now = '2026-01-01T00:00:00Z'
  for (const name of ['a', 'b']) {
    const made = (await call(api, 'POST', PODS, pod(name, { nodeName: 'n' }))).body
    await call(api, 'PUT', `${PODS}/${name}/status`, readyPod(made as never, '10.0.0.1', now))
  }
  const budgets = '/apis/policy/v1/namespaces/default/poddisruptionbudgets'
  await call(api, 'POST', budgets, {
    metadata: { name: 'web' },
    spec: { minAvailable: 1, selector: { matchLabels: { app: 'web' } } },
  })
  await api.clock.advance(1000)
  assert.equal((await call(api, 'GET', `${budgets}/web`)).body.status.disruptionsAllowed, 1)
  const evict = (name: string) =>
    call(api, 'POST', `${PODS}/${name}/eviction`, { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name } })
  assert.equal((await evict('a')).status, 201)
  const refused = await evict('b')
  assert.equal(refused.status, 429)
  assert.equal(refused.body.message, "Cannot evict pod as it would violate the pod's disruption budget.")
  assert.equal(refused.body.details.causes[0].reason, 'DisruptionBudget')
  assert.match(
    refused.body.details.causes[0].message,
    /The disruption budget web needs 1 healthy pods and has \d currently/,
  )
})

test('approval changes conditions only, and the requester is who asked', async () => {
  await using api = await startApi()
  const csrs = '/apis/certificates.k8s.io/v1/certificatesigningrequests'
  const request = Buffer.from('-----BEGIN CERTIFICATE REQUEST-----\n').toString('base64')
  const spec = {
    request,
    signerName: 'example.com/s',
    usages: ['client auth'],
    username: 'somebody-else',
    groups: ['system:masters'],
  }
  const made = await call(api, 'POST', csrs, { metadata: { name: 'c' }, spec })
  assert.equal(made.body.spec.username, 'admin')
  const conditions = [{ type: 'Approved', status: 'True', reason: 'R' }]
  const approved = await call(
    api,
    'PATCH',
    `${csrs}/c/approval`,
    { spec: { username: 'x' }, status: { conditions, certificate: 'AA==' } },
    merge,
  )
  assert.equal(approved.body.spec.username, 'admin')
  assert.equal(approved.body.status.certificate, undefined)
  assert.equal(approved.body.status.conditions[0].type, 'Approved')
  const both = { status: { conditions: [...conditions, { type: 'Denied', status: 'True' }] } }
  assert.match((await call(api, 'PATCH', `${csrs}/c/approval`, both, merge)).body.message, /mutually exclusive/)
})

test('a proxy passes on paths, queries, methods and bodies, and rewrites links', async () => {
  const address = Object.values(networkInterfaces())
    .flat()
    .find((i) => i?.family === 'IPv4' && !i.internal)?.address
  if (!address) return
  const seen: string[] = []
  const handler = (request: IncomingMessage, response: ServerResponse) => {
    let body = ''
    request
      .on('data', (d) => (body += d))
      .on('end', () => {
        seen.push(`${request.method} ${request.url} ${body} ${request.headers.authorization ?? '-'}`)
        if (request.url === '/page')
          return response.writeHead(200, { 'content-type': 'text/html' }).end('<a href="/x">')
        if (request.url === '/moved') return response.writeHead(302, { location: '/there' }).end()
        response.end('hello')
      })
  }
  const server = createServer(handler)
  await new Promise<void>((resolve) => server.listen(0, address, resolve))
  const { port } = server.address() as AddressInfo
  try {
    await using api = await startApi()
    const made = (await call(api, 'POST', PODS, pod('p'))).body
    await call(api, 'PUT', `${PODS}/p/status`, readyPod(made as never, address, '2026-01-01T00:00:00Z'))
    const at = `${PODS}/p:${port}/proxy`
    const bare = await call(api, 'GET', at)
    assert.deepEqual([bare.status, bare.headers.location], [301, `${at}/`])
    const sent = await call(
      api,
      'POST',
      `${at}/a/b?c=d&watch=true`,
      { e: 1 },
      { headers: { 'Impersonate-User': 'system:admin', 'Impersonate-Group': 'system:masters' } },
    )
    assert.equal(sent.body.text, 'hello')
    assert.equal(seen.at(-1), 'POST /a/b?c=d&watch=true {"e":1} -')
    assert.equal((await call(api, 'GET', `${at}/page`)).body.text, `<a href="${at}/x">`)
    assert.equal((await call(api, 'GET', `${at}/moved`)).headers.location, `${at}/there`)
    const nobody = await call(api, 'GET', `${PODS}/p:1/proxy/`)
    assert.equal(nobody.status, 503)
    assert.match(nobody.body.message, /error trying to reach service/)
  } finally {
    server.close()
  }
})

test('limits are said with upstream’s codes', async () => {
  await using api = await startApi()
  const maps = '/api/v1/namespaces/default/configmaps'
  await call(api, 'POST', maps, { metadata: { name: 'm' }, data: { k: 'x'.repeat(1000) } })
  const json = { type: 'application/json-patch+json' }
  const many = await call(
    api,
    'PATCH',
    `${maps}/m`,
    Array(10_001).fill({ op: 'test', path: '/kind', value: 'x' }),
    json,
  )
  assert.equal(many.status, 413)
  assert.match(many.body.message, /maximum operations in a JSON patch is 10000, got 10001/)
  const copies = Array.from({ length: 20 }, (_, i) => ({ op: 'copy', from: '/data', path: `/data/k${i}` }))
  const bomb = await call(api, 'PATCH', `${maps}/m`, copies, json)
  assert.equal(bomb.status, 422)
  assert.match(bomb.body.message, /exceeding the limit 3145728/)
  const big = await call(api, 'POST', maps, { metadata: { name: 'big' }, data: { k: 'x'.repeat(1024 * 1024 + 1) } })
  assert.equal(big.status, 422)
  assert.match(big.body.message, /Too long: may not be more than 1048576 bytes/)
  const huge = await call(api, 'POST', maps, { metadata: { name: 'huge' }, data: { k: 'x'.repeat(3 * 1024 * 1024) } })
  assert.equal(huge.status, 413)
  assert.match(huge.body.message, /limit is 3145728/)
  const deep = await call(api, 'POST', maps, undefined, { raw: `{"data":${'['.repeat(5000)}${']'.repeat(5000)}}` })
  assert.equal(deep.status, 400)
  assert.match(deep.body.message, /exceeded max depth: the limit is 1000/)
  const proto = await call(api, 'POST', maps, undefined, { raw: '{"metadata":{"name":"p"},"__proto__":{"x":1}}' })
  assert.equal(proto.status, 400)
  const yaml = `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c]\n`
  const aliases = await call(api, 'POST', maps, undefined, { raw: yaml, type: 'application/yaml' })
  assert.equal(aliases.status, 400)
  assert.match(aliases.body.message, /alias/i)
})

test('names of fields that headers cannot carry are warned of all the same', async () => {
  await using api = await startApi()
  const made = await call(api, 'POST', '/api/v1/namespaces/default/configmaps', { metadata: { name: 'm' }, ключ: 1 })
  assert.equal(made.status, 201)
  assert.equal(made.headers.warning, '299 - "unknown field \\"\\u043a\\u043b\\u044e\\u0447\\""')
  assert.equal(made.body.ключ, undefined)
})

test('unknown and repeated fields are named in the order of the document', async () => {
  await using api = await startApi()
  const raw = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"unknown1":1,"unknownDupe":1,"unknownDupe":2,
    "paused":true,"paused":false,"selector":{"matchLabels":{"app":"x"}},"template":{"metadata":{"labels":{"app":"x"}},"spec":{"containers":[
    {"name":"c","image":"i","unknownNested":1,"imagePullPolicy":"Always","imagePullPolicy":"Never"}]}}}}`
  const path = '/apis/apps/v1/namespaces/default/deployments'
  const strict = await call(api, 'POST', `${path}?fieldValidation=Strict`, undefined, { raw })
  assert.equal(
    strict.body.message,
    'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error: unknown field "spec.unknown1", unknown field "spec.unknownDupe", duplicate field "spec.paused", unknown field "spec.template.spec.containers[0].unknownNested", duplicate field "spec.template.spec.containers[0].imagePullPolicy"',
  )
  const warned = await call(api, 'POST', path, undefined, { raw })
  assert.equal(warned.status, 201)
  assert.equal(warned.body.spec.unknown1, undefined)
  assert.equal(String(warned.headers.warning).match(/299/g)?.length, 5)
})
