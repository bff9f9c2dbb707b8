// Protobuf in and out, as Go clients send and ask for it.

import assert from 'node:assert/strict'
import { request } from 'node:https'
import { test } from 'node:test'
import { groupResource, groupVersion, type Json, KindRegistry } from '#api'
import { call, SAMPLE_NAMES, SAMPLES, startApi, type TestApi } from '#kit'
import { decodeProtobuf, encodeProtobuf } from '../../src/apiserver/protobuf-codec.ts'

const PROTOBUF = 'application/vnd.kubernetes.protobuf'

/** A request whose bodies are bytes. */
function exchange(
  api: TestApi,
  method: string,
  path: string,
  body?: Buffer,
  accept = PROTOBUF,
): Promise<{ status: number; type: string; body: Buffer }> {
  return new Promise((resolve, reject) => {
    const r = request(
      {
        host: '127.0.0.1',
        port: api.port,
        path,
        method,
        ca: api.ca.cert,
        cert: api.admin.cert,
        key: api.admin.key,
        agent: false,
        headers: { accept, 'content-type': PROTOBUF },
      },
      (response) => {
        const parts: Buffer[] = []
        response.on('data', (d: Buffer) => {
          parts.push(d)
          // A watch goes on: its first frame is enough.
          if (path.includes('watch=true')) response.destroy()
        })
        response.on('close', () =>
          resolve({
            status: response.statusCode ?? 0,
            type: String(response.headers['content-type']),
            body: Buffer.concat(parts),
          }),
        )
      },
    )
    r.on('error', reject)
    r.end(body)
  })
}

const pod: Json = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p', labels: { app: 'x' }, annotations: { note: 'é' } },
  spec: {
    terminationGracePeriodSeconds: 0,
    volumes: [
      { name: 'e', emptyDir: {} },
      { name: 'c', configMap: { name: 'cm', optional: false, defaultMode: 420 } },
    ],
    containers: [
      {
        name: 'c',
        image: 'i:v1',
        env: [{ name: 'A', valueFrom: { configMapKeyRef: { name: 'cm', key: 'k' } } }],
        envFrom: [{ secretRef: { name: 's' } }],
        resources: { requests: { cpu: '100m', memory: '64Mi' } },
        livenessProbe: { httpGet: { path: '/', port: 'web' }, periodSeconds: 5 },
        securityContext: { runAsUser: 0, runAsNonRoot: false },
        volumeMounts: [{ name: 'e', mountPath: '/e' }],
      },
    ],
  },
}

test('an object comes back from protobuf as it went in, zeros that mean something included', () => {
  assert.deepEqual(decodeProtobuf(encodeProtobuf(pod)!), pod)
})

test('a client that speaks protobuf creates, reads, lists and is told its errors in it', async () => {
  await using api = await startApi()
  const made = await exchange(api, 'POST', '/api/v1/namespaces/default/pods', encodeProtobuf(pod))
  assert.equal(made.status, 201, made.body.toString())
  assert.equal(made.type, PROTOBUF)
  const back = decodeProtobuf(made.body)
  assert.equal(back.spec.containers[0].livenessProbe.timeoutSeconds, 1, 'a zero that means "not set" is defaulted')
  assert.equal(back.metadata.managedFields[0].operation, 'Update')
  const json = (await call(api, 'GET', '/api/v1/namespaces/default/pods/p')).body
  assert.deepEqual(back.spec, json.spec)
  const list = decodeProtobuf((await exchange(api, 'GET', '/api/v1/pods')).body)
  assert.equal(list.kind, 'PodList')
  assert.equal(list.items[0].metadata.name, 'p')
  const missing = await exchange(api, 'GET', '/api/v1/namespaces/default/pods/none')
  assert.equal(decodeProtobuf(missing.body).reason, 'NotFound')
})

test('an Ingress, a CronJob and a quota, as kubectl create sends them', async () => {
  await using api = await startApi()
  const backend = { service: { name: 's', port: { number: 80 } } }
  const bodies: [string, Json][] = [
    [
      '/apis/networking.k8s.io/v1/namespaces/default/ingresses',
      {
        apiVersion: 'networking.k8s.io/v1',
        kind: 'Ingress',
        metadata: { name: 'i' },
        spec: { rules: [{ host: 'h', http: { paths: [{ path: '/', pathType: 'Prefix', backend }] } }] },
      },
    ],
    [
      '/api/v1/namespaces/default/resourcequotas',
      { apiVersion: 'v1', kind: 'ResourceQuota', metadata: { name: 'q' }, spec: { hard: { pods: '3' } } },
    ],
    [
      '/apis/policy/v1/namespaces/default/poddisruptionbudgets',
      {
        apiVersion: 'policy/v1',
        kind: 'PodDisruptionBudget',
        metadata: { name: 'b' },
        spec: { minAvailable: '50%', selector: { matchLabels: { a: 'b' } } },
      },
    ],
  ]
  for (const [path, body] of bodies) {
    const answer = await exchange(api, 'POST', path, encodeProtobuf(body), 'application/json')
    assert.equal(answer.status, 201, answer.body.toString())
    const stored = JSON.parse(answer.body.toString()) as Json
    for (const [key, value] of Object.entries(body.spec as Json))
      assert.deepEqual(stored.spec[key], value, `${body.kind} spec.${key}`)
  }
})

test('a watch in protobuf is a row of frames with their lengths', async () => {
  await using api = await startApi()
  await exchange(api, 'POST', '/api/v1/namespaces/default/pods', encodeProtobuf(pod))
  const { body, type } = await exchange(api, 'GET', '/api/v1/pods?watch=true')
  assert.equal(type, `${PROTOBUF};stream=watch`)
  const length = body.readUInt32BE(0)
  assert.ok(length > 0 && length <= body.length - 4)
  assert.ok(body.subarray(4, 4 + length).includes('ADDED'))
})

test('what cannot be read is refused, never cut short', () => {
  const extra = Buffer.from([0xfa, 0x3e, 0x01, 0x78]) // field 1007 of the Pod: nobody knows it
  const bytes = encodeProtobuf({ apiVersion: 'v1', kind: 'Pod', metadata: {} })!
  // The object's own length is one byte here: lengthen it by the extra field.
  const raw = bytes.lastIndexOf(Buffer.from([0x12])) // Unknown.raw
  const changed = Buffer.concat([
    bytes.subarray(0, raw + 1),
    Buffer.from([bytes[raw + 1]! + extra.length]),
    bytes.subarray(raw + 2, raw + 2 + bytes[raw + 1]!),
    extra,
  ])
  assert.throws(() => decodeProtobuf(changed), /its field 1007 is not known: send application\/json/)
  assert.throws(() => decodeProtobuf(Buffer.from('{}')), /does not begin with "k8s"/)
})

test('every kind is the same in protobuf as in JSON, and is taken as protobuf', async () => {
  await using api = await startApi()
  const differences: string[] = []
  const unread: string[] = []
  for (const kind of new KindRegistry().all()) {
    const resource = groupResource(kind)
    const sample = SAMPLES[resource]
    if (!sample || kind.converted) continue
    const apiVersion = groupVersion(kind)
    const root = `${kind.group ? `/apis/${kind.group}` : '/api'}/${kind.version}`
    const path = `${root}${kind.namespaced ? '/namespaces/default' : ''}/${kind.plural}`
    const name = (n: string) => SAMPLE_NAMES[resource]?.(n) ?? n
    const made = await call(api, 'POST', path, { ...sample, metadata: { name: name('json') } })
    assert.equal(made.status, 201, JSON.stringify(made.body))
    const json = (await call(api, 'GET', `${path}/${name('json')}`)).body
    const read = await exchange(api, 'GET', `${path}/${name('json')}`)
    if (read.type !== PROTOBUF) {
      unread.push(`${apiVersion} ${kind.kind}`)
      continue
    }
    try {
      assert.deepEqual(withoutNothing(decodeProtobuf(read.body)), withoutNothing(json))
      const sent = encodeProtobuf({ ...sample, apiVersion, kind: kind.kind, metadata: { name: name('protobuf') } })
      const answer = await exchange(api, 'POST', path, sent, 'application/json')
      assert.equal(answer.status, 201, answer.body.toString())
      const { metadata: _a, ...one } = JSON.parse(answer.body.toString()) as Json
      const { metadata: _b, ...other } = made.body
      assert.deepEqual(withoutAddresses(one), withoutAddresses(other))
    } catch (error) {
      differences.push(`${apiVersion} ${kind.kind}: ${(error as Error).message}`)
    }
  }
  assert.deepEqual(differences, [])
  // Whatever kubectl set-up found: with Debian's of 2021 a machine without a newer one failed here.
  assert.deepEqual(unread, [])
})

test('a definition of a custom resource keeps all of its schema in protobuf', () => {
  const crd: Json = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'ships.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'ships', kind: 'Ship', shortNames: ['sh'] },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: false,
          subresources: { status: {}, scale: { specReplicasPath: '.spec.n', statusReplicasPath: '.status.n' } },
          schema: {
            openAPIV3Schema: {
              type: 'object',
              properties: {
                spec: {
                  type: 'object',
                  additionalProperties: { type: 'string' },
                  'x-kubernetes-preserve-unknown-fields': true,
                },
                n: { type: 'integer', minimum: 0, maximum: 2.5, default: 1, enum: [0, 1, 'x', null] },
                l: {
                  type: 'array',
                  items: { type: 'object', required: ['k'], properties: { k: { type: 'string', minLength: 0 } } },
                  'x-kubernetes-list-type': 'map',
                  'x-kubernetes-list-map-keys': ['k'],
                  'x-kubernetes-validations': [{ rule: 'true', message: 'never' }],
                },
                open: { type: 'object', additionalProperties: false, $ref: '#/x' },
              },
            },
          },
        },
      ],
      conversion: {
        strategy: 'Webhook',
        webhook: { conversionReviewVersions: ['v1'], clientConfig: { caBundle: 'AAEC', url: 'https://x/' } },
      },
    },
  }
  assert.deepEqual(withoutNothing(decodeProtobuf(encodeProtobuf(crd)!)), withoutNothing(crd))
})

/** Without what Go's JSON leaves out: empty lists, maps and texts, and null. */
function withoutNothing(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNothing)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .map(([k, v]) => [k, withoutNothing(v)] as const)
      .filter(([, v]) => {
        if (v === null || v === '' || v === undefined || v === 0 || v === false) return false
        return typeof v !== 'object' || Object.keys(v as object).length > 0
      }),
  )
}

/** Without what each object has of its own. */
function withoutAddresses(object: Json): unknown {
  const text = JSON.stringify(object, (key, v) =>
    ['clusterIP', 'clusterIPs', 'kubernetes.io/metadata.name', 'lastTransitionTime'].includes(key) ? undefined : v,
  )
  return withoutNothing(
    JSON.parse(
      text
        .replaceAll('protobuf', 'json')
        .replace(/kube-api-access-\w{5}/g, 'token')
        .replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, 'uid'),
    ),
  )
}
