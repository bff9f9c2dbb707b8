// CustomResourceDefinitions and their objects, as clients see them.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Json } from '#api'
import { call, startApi, type TestApi } from '#kit'

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions'
const THINGS = '/apis/example.com/v1/namespaces/default/things'

function definition(spec: Json, more: Json = {}, version: Json = {}): Json {
  return {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: 'things.example.com' },
    spec: {
      group: 'example.com',
      scope: 'Namespaced',
      names: { plural: 'things', kind: 'Thing', shortNames: ['th'], categories: ['all'] },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: {
            openAPIV3Schema: {
              type: 'object',
              properties: { spec, status: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } },
            },
          },
          ...version,
        },
      ],
      ...more,
    },
  }
}

async function define(api: TestApi, crd: Json): Promise<Json> {
  const made = await call(api, 'POST', CRDS, crd)
  assert.equal(made.status, 201, JSON.stringify(made.body))
  for (let i = 0; i < 50; i++) {
    const now = (await call(api, 'GET', `${CRDS}/${crd.metadata.name}`)).body
    if (now.status?.conditions?.length > 0) return now
  }
  return assert.fail('the definition got no status')
}

const thing = (name: string, spec: Json, more: Json = {}): Json => ({
  apiVersion: 'example.com/v1',
  kind: 'Thing',
  metadata: { name },
  spec,
  ...more,
})

test('unknown fields are pruned and said, duplicates are said, defaults are filled in', async () => {
  await using api = await startApi()
  const spec = {
    type: 'object',
    properties: {
      size: { type: 'integer', default: 3 },
      part: { type: 'object', default: {}, properties: { name: { type: 'string', default: 'x' } } },
      open: {
        type: 'object',
        'x-kubernetes-preserve-unknown-fields': true,
        properties: { known: { type: 'object', properties: {} } },
      },
      nullable: { type: 'string', nullable: true, default: 'd' },
      list: { type: 'array', items: { type: 'string' } },
    },
  }
  await define(api, definition(spec))
  // Nulls where there may be none are as good as nothing.
  const sent = thing('a', { odd: 1, open: { any: 1, known: { odd: 2 } }, nullable: null, list: null, size: null })
  const strict = await call(api, 'POST', `${THINGS}?fieldValidation=Strict`, sent)
  assert.equal(strict.status, 400)
  assert.equal(
    strict.body.message,
    'Thing in version "v1" cannot be handled as a Thing: strict decoding error: unknown field "spec.odd", unknown field "spec.open.known.odd"',
  )
  const made = await call(api, 'POST', THINGS, sent)
  assert.equal(made.status, 201)
  assert.deepEqual(
    made.headers.warning,
    '299 - "unknown field \\"spec.odd\\"", 299 - "unknown field \\"spec.open.known.odd\\""',
  )
  assert.deepEqual(made.body.spec, { open: { any: 1, known: {} }, nullable: null, size: 3, part: { name: 'x' } })
  const raw = '{"apiVersion":"example.com/v1","kind":"Thing","metadata":{"name":"b"},"spec":{"size":1,"size":2}}'
  const twice = await call(api, 'POST', `${THINGS}?fieldValidation=Strict`, undefined, { raw })
  assert.match(twice.body.message, /strict decoding error: duplicate field "spec.size"$/)
  assert.equal((await call(api, 'POST', THINGS, undefined, { raw })).body.spec.size, 2)
})

test('values are held against the schema, in upstream’s words', async () => {
  await using api = await startApi()
  const spec = {
    type: 'object',
    required: ['must'],
    properties: {
      must: { type: 'string' },
      n: { type: 'integer', minimum: 1, maximum: 9, multipleOf: 2 },
      s: { type: 'string', pattern: '^a+$', maxLength: 3, minLength: 2 },
      e: { type: 'string', enum: ['x', 'y'] },
      d: { type: 'string', format: 'date-time' },
      list: { type: 'array', maxItems: 1, items: { type: 'string' } },
      set: { type: 'array', 'x-kubernetes-list-type': 'set', items: { type: 'string' } },
      port: { 'x-kubernetes-int-or-string': true },
      either: {
        type: 'object',
        properties: { a: { type: 'string' }, b: { type: 'string' } },
        oneOf: [{ required: ['a'] }, { required: ['b'] }],
      },
    },
  }
  await define(api, definition(spec))
  const problem = async (part: Json) => {
    const answer = await call(api, 'POST', THINGS, thing('a', { must: 'm', ...part }))
    assert.equal(answer.status, 422, JSON.stringify(answer.body))
    return answer.body.details.causes.map((c: Json) => `${c.field}: ${c.message}`).join('; ')
  }
  assert.equal(await problem({ must: undefined }), 'spec.must: Required value')
  assert.equal(
    await problem({ n: 'x' }),
    'spec.n: Invalid value: "x": spec.n in body must be of type integer: "string"',
  )
  assert.equal(await problem({ n: 0 }), 'spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1')
  assert.equal(await problem({ n: 3 }), 'spec.n: Invalid value: 3: spec.n in body should be a multiple of 2')
  assert.equal(await problem({ s: 'bb' }), `spec.s: Invalid value: "bb": spec.s in body should match '^a+$'`)
  assert.equal(await problem({ s: 'aaaa' }), 'spec.s: Too long: may not be more than 3 bytes')
  assert.equal(await problem({ e: 'z' }), 'spec.e: Unsupported value: "z": supported values: "x", "y"')
  assert.equal(
    await problem({ d: 'now' }),
    'spec.d: Invalid value: "now": spec.d in body must be of type date-time: "now"',
  )
  assert.equal(await problem({ list: ['a', 'b'] }), 'spec.list: Too many: 2: must have at most 1 items')
  assert.equal(await problem({ set: ['a', 'a'] }), 'spec.set[1]: Duplicate value: "a"')
  assert.match(
    await problem({ port: true }),
    /^spec.port: Invalid value: true: spec.port in body must be of type integer,string/,
  )
  assert.equal(
    await problem({ either: {} }),
    'spec.either: Invalid value: "": "spec.either" must validate one and only one schema (oneOf). Found none valid',
  )
})

test('status and scale are their own, and the generation counts what is asked for', async () => {
  await using api = await startApi()
  const spec = { type: 'object', properties: { replicas: { type: 'integer' } } }
  const subresources = {
    status: {},
    scale: {
      specReplicasPath: '.spec.replicas',
      statusReplicasPath: '.status.replicas',
      labelSelectorPath: '.status.selector',
    },
  }
  await define(api, definition(spec, {}, { subresources }))
  const made = await call(api, 'POST', THINGS, thing('a', { replicas: 1 }, { status: { replicas: 9 } }))
  assert.equal(made.body.status, undefined)
  assert.equal(made.body.metadata.generation, 1)
  const status = await call(api, 'PUT', `${THINGS}/a/status`, {
    ...made.body,
    spec: { replicas: 7 },
    status: { replicas: 2, selector: 'a=b' },
  })
  assert.deepEqual([status.body.spec.replicas, status.body.status.replicas, status.body.metadata.generation], [1, 2, 1])
  const scale = await call(
    api,
    'PATCH',
    `${THINGS}/a/scale`,
    { spec: { replicas: 5 } },
    { type: 'application/merge-patch+json' },
  )
  assert.deepEqual(
    [scale.body.kind, scale.body.spec.replicas, scale.body.status],
    ['Scale', 5, { replicas: 2, selector: 'a=b' }],
  )
  assert.equal((await call(api, 'GET', `${THINGS}/a`)).body.metadata.generation, 2)
})

test('versions are the same object; a version that stored objects may not go', async () => {
  await using api = await startApi()
  const schema = { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } }
  const versions = [
    { name: 'v1', served: true, storage: true, schema },
    { name: 'v1beta1', served: true, storage: false, schema },
  ]
  const crd = await define(api, definition({}, { versions }))
  assert.deepEqual(crd.status.storedVersions, ['v1'])
  await call(api, 'POST', THINGS, thing('a', { x: 1 }))
  const old = await call(api, 'GET', '/apis/example.com/v1beta1/namespaces/default/things/a')
  assert.deepEqual([old.body.apiVersion, old.body.spec.x], ['example.com/v1beta1', 1])
  const moved = structuredClone(crd)
  moved.spec.versions = [
    { ...versions[0], storage: false },
    { ...versions[1], storage: true },
  ]
  const put = await call(api, 'PUT', `${CRDS}/things.example.com`, {
    ...moved,
    metadata: { ...moved.metadata, resourceVersion: undefined },
  })
  assert.equal(put.status, 200, JSON.stringify(put.body))
  for (let i = 0; i < 50; i++)
    if ((await call(api, 'GET', `${CRDS}/things.example.com`)).body.status.storedVersions.length === 2) break
  const now = (await call(api, 'GET', `${CRDS}/things.example.com`)).body
  assert.deepEqual(now.status.storedVersions, ['v1', 'v1beta1'])
  now.spec.versions = [now.spec.versions[1]]
  const dropped = await call(api, 'PUT', `${CRDS}/things.example.com`, now)
  assert.match(dropped.body.message, /status.storedVersions\[0\]: Invalid value: "v1": must appear in spec.versions/)
})

test('a name that is taken is not accepted, and is served when it is free', async () => {
  await using api = await startApi()
  await define(api, definition({ type: 'object' }))
  const other = definition({ type: 'object' }, { names: { plural: 'others', kind: 'Other', shortNames: ['th'] } })
  other.metadata.name = 'others.example.com'
  const taken = await define(api, other)
  const condition = taken.status.conditions.find((c: Json) => c.type === 'NamesAccepted')
  assert.deepEqual(
    [condition.status, condition.reason, condition.message],
    ['False', 'ShortNamesConflict', '"th" is already in use'],
  )
  assert.equal((await call(api, 'GET', '/apis/example.com/v1/others')).status, 404)
  await call(api, 'DELETE', `${CRDS}/things.example.com`)
  for (let i = 0; i < 50; i++) if ((await call(api, 'GET', '/apis/example.com/v1/others')).status === 200) return
  assert.fail('the other definition is not served')
})

test('a schema that is not structural is refused, with the place and why', async () => {
  await using api = await startApi()
  const message = async (spec: Json) => (await call(api, 'POST', CRDS, definition(spec))).body.message
  const at = 'spec.versions[0].schema.openAPIV3Schema.properties[spec]'
  assert.ok(
    (await message({ properties: {} })).includes(
      `${at}.type: Required value: must not be empty for specified object fields`,
    ),
  )
  assert.ok((await message({ type: 'array' })).includes(`${at}.items: Required value: must be specified`))
  assert.ok(
    (
      await message({ type: 'object', properties: { a: { type: 'string' } }, additionalProperties: { type: 'string' } })
    ).includes(`${at}.additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive`),
  )
  assert.ok((await message({ type: 'string', default: 1 })).includes(`${at}.default`))
  assert.ok((await message({ type: 'string', pattern: '(' })).includes(`${at}.pattern`))
  assert.ok(
    (await message({ type: 'string', oneOf: [{ type: 'string' }] })).includes(
      `${at}.oneOf[0].type: Forbidden: must be empty to be structural`,
    ),
  )
})

test('what is defined appears in discovery and OpenAPI, changes with it and vanishes with it', async () => {
  await using api = await startApi()
  const tag = async () => (await call(api, 'GET', '/openapi/v2')).headers.etag
  const before = await tag()
  await define(
    api,
    definition({ type: 'object', description: 'What is asked for.', properties: { size: { type: 'integer' } } }),
  )
  const doc = (await call(api, 'GET', '/openapi/v2')).body
  assert.equal(doc.definitions['com.example.v1.Thing'].properties.spec.description, 'What is asked for.')
  assert.notEqual(await tag(), before)
  const same = await call(api, 'GET', '/openapi/v2', undefined, { headers: { 'if-none-match': String(await tag()) } })
  assert.equal(same.status, 304)
  const index = (await call(api, 'GET', '/openapi/v3')).body
  assert.match(index.paths['apis/example.com/v1'].serverRelativeURL, /\?hash=[0-9A-F]{32}$/)
  const aggregated = await call(api, 'GET', '/apis', undefined, {
    accept: 'application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList',
  })
  assert.ok(aggregated.body.items.some((g: Json) => g.metadata.name === 'example.com'))
  assert.equal(aggregated.body.apiVersion, 'apidiscovery.k8s.io/v2beta1')
  assert.ok(aggregated.headers.etag)
  await call(api, 'DELETE', `${CRDS}/things.example.com`)
  for (let i = 0; i < 50 && (await tag()) !== before; i++);
  assert.equal(await tag(), before)
})
