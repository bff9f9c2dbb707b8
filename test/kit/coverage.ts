// Tries every verb and feature of a kind over the wire, and notes what holds.

import { groupResource, type Json, type ResourceKind } from '#api'
import type { TestApi } from './api.ts'
import { type Answer, call } from './call.ts'
import { SAMPLE_NAMES, SAMPLES } from './samples.ts'

/** Features in the order of the table's columns. */
export const FEATURES = [
  'create',
  'get',
  'list',
  'watch',
  'update',
  'stale update',
  'json patch',
  'merge patch',
  'strategic patch',
  'apply',
  'dry run',
  'strict fields',
  'generateName',
  'table',
  'metadata only',
  'protobuf',
  'selectors',
  'pages',
  'status',
  'preconditions',
  'delete',
  'delete collection',
] as const
export type Feature = (typeof FEATURES)[number]

/** True, why not, or undefined where a kind has no such thing. */
export type Result = true | string | undefined

const expect = (answer: Answer, status: number, ok = true): true | string =>
  answer.status === status && ok
    ? true
    : `${answer.status} ${answer.body.message ?? answer.body.text ?? ''}`.slice(0, 200)

/** Runs all features of a kind; leaves no object of its own behind. */
export async function coverageOf(api: TestApi, kind: ResourceKind): Promise<Map<Feature, Result>> {
  const results = new Map<Feature, Result>()
  const resource = groupResource(kind)
  const apiVersion = kind.group ? `${kind.group}/${kind.version}` : kind.version
  const root = kind.group ? `/apis/${apiVersion}` : `/api/${apiVersion}`
  const collection = `${root}${kind.namespaced ? '/namespaces/default' : ''}/${kind.plural}`
  const name = (n: string) => SAMPLE_NAMES[resource]?.(n) ?? n
  const at = (n: string) => `${collection}/${name(n)}`
  const labels = { sampled: kind.plural }
  const sample = (n: string, more: Json = {}): Json => ({
    apiVersion,
    kind: kind.kind,
    ...structuredClone(SAMPLES[resource] ?? {}),
    metadata: { name: name(n), labels, ...more },
  })
  const on = (feature: Feature, result: Result) => void results.set(feature, result)
  const patch = (n: string, type: string, body: Json, query = '') =>
    call(api, 'PATCH', at(n) + query, body, { type: `application/${type}` })
  const annotated = (a: Answer) => a.body.metadata?.annotations?.by

  on('create', expect(await call(api, 'POST', collection, sample('one')), 201))
  const got = await call(api, 'GET', at('one'))
  on('get', expect(got, 200, got.body.kind === kind.kind && got.body.metadata.uid !== undefined))
  const listed = await call(api, 'GET', collection)
  on('list', expect(listed, 200, listed.body.kind === `${kind.kind}List` && listed.body.items.length > 0))

  const since = listed.body.metadata?.resourceVersion
  const watching = call(api, 'GET', `${collection}?watch=true&resourceVersion=${since}&timeoutSeconds=5`)
  const changed = sample('one')
  changed.metadata = { ...got.body.metadata, annotations: { by: 'update' } }
  const body = { ...got.body, metadata: changed.metadata }
  const updated = await call(api, 'PUT', at('one'), body)
  on('update', expect(updated, 200, annotated(updated) === 'update'))
  const stale = await call(api, 'PUT', at('one'), body)
  on('stale update', expect(stale, 409))
  const op = [{ op: 'add', path: '/metadata/annotations/by', value: 'json' }]
  const json = await patch('one', 'json-patch+json', op)
  on('json patch', expect(json, 200, annotated(json) === 'json'))
  const merge = await patch('one', 'merge-patch+json', { metadata: { annotations: { by: 'merge' } } })
  on('merge patch', expect(merge, 200, annotated(merge) === 'merge'))
  const strategic = await patch('one', 'strategic-merge-patch+json', { metadata: { annotations: { by: 'strategic' } } })
  on('strategic patch', expect(strategic, 200, annotated(strategic) === 'strategic'))

  const applied = await patch('two', 'apply-patch+yaml', sample('two'), '?fieldManager=coverage')
  const owner = applied.body.metadata?.managedFields?.[0]
  on('apply', expect(applied, 201, owner?.manager === 'coverage' && owner.operation === 'Apply'))
  const dry = await call(api, 'POST', `${collection}?dryRun=All`, sample('three'))
  const absent = await call(api, 'GET', at('three'))
  on('dry run', expect(dry, 201, absent.status === 404))
  const strict = await call(api, 'POST', `${collection}?fieldValidation=Strict`, { ...sample('four'), sampled: true })
  on('strict fields', expect(strict, 400, /strict decoding error: unknown field "sampled"/.test(strict.body.message)))
  if (SAMPLE_NAMES[resource]) on('generateName', undefined)
  else {
    const made = await call(api, 'POST', collection, { ...sample('x'), metadata: { generateName: 'made-', labels } })
    on('generateName', expect(made, 201, /^made-.{5}$/.test(made.body.metadata?.name)))
  }

  const accept = (as: string) => `application/json;as=${as};v=v1;g=meta.k8s.io`
  const table = await call(api, 'GET', collection, undefined, { accept: accept('Table') })
  const columns = table.body.columnDefinitions?.map((c: Json) => c.name)
  on(
    'table',
    expect(table, 200, (table.body.kind === 'Table' && columns[0] === 'Name') || columns?.[0] === 'Last Seen'),
  )
  const partial = await call(api, 'GET', at('one'), undefined, { accept: accept('PartialObjectMetadata') })
  on('metadata only', expect(partial, 200, partial.body.kind === 'PartialObjectMetadata' && !partial.body.spec))
  const binary = await call(api, 'GET', collection, undefined, { accept: 'application/vnd.kubernetes.protobuf' })
  on('protobuf', binary.status === 406 ? undefined : expect(binary, 200, String(binary.body.text).startsWith('k8s')))
  const byLabel = await call(api, 'GET', `${collection}?labelSelector=sampled=${kind.plural}`)
  const byField = await call(api, 'GET', `${collection}?fieldSelector=metadata.name=${name('one')}`)
  const bad = await call(api, 'GET', `${collection}?fieldSelector=spec.nosuch=1`)
  on(
    'selectors',
    byLabel.body.items?.length >= 2 && byField.body.items?.length === 1 && bad.status === 400
      ? true
      : `${byLabel.body.items?.length} by label, ${byField.body.items?.length} by field, ${bad.status}`,
  )
  const page = await call(api, 'GET', `${collection}?limit=1`)
  const token = encodeURIComponent(page.body.metadata?.continue ?? '')
  const next = await call(api, 'GET', `${collection}?limit=1&continue=${token}`)
  on('pages', expect(next, 200, token !== '' && next.body.items[0].metadata.name !== page.body.items[0].metadata.name))

  if (kind.subresources.some((s) => s.name === 'status')) {
    const status = await call(
      api,
      'PATCH',
      `${at('one')}/status`,
      { metadata: { annotations: { by: 'status' } } },
      {
        type: 'application/merge-patch+json',
      },
    )
    const read = await call(api, 'GET', `${at('one')}/status`)
    on('status', expect(status, 200, annotated(read) === 'status'))
  } else on('status', undefined)

  const wrong = await call(api, 'DELETE', at('two'), { preconditions: { uid: 'another' } })
  on('preconditions', expect(wrong, 409))
  const deleted = await call(api, 'DELETE', at('two'), { gracePeriodSeconds: 0 })
  const gone = await call(api, 'GET', at('two'))
  const finalized = resource === 'namespaces' && gone.body.status?.phase === 'Terminating'
  on('delete', expect(deleted, 200, gone.status === 404 || finalized))
  if (kind.verbs.includes('deletecollection')) {
    const all = await call(api, 'DELETE', `${collection}?labelSelector=sampled=${kind.plural}`, {
      gracePeriodSeconds: 0,
    })
    const left = await call(api, 'GET', `${collection}?labelSelector=sampled=${kind.plural}`)
    on('delete collection', expect(all, 200, left.body.items?.length === 0))
  } else {
    on('delete collection', undefined)
    for (const o of byLabel.body.items ?? []) await call(api, 'DELETE', `${collection}/${o.metadata.name}`)
  }
  await api.clock.advance(6000)
  const events = String((await watching).body.text ?? JSON.stringify((await watching).body))
  const seen = (type: string) => events.includes(`"type":"${type}"`)
  on(
    'watch',
    (seen('MODIFIED') && seen('ADDED') && seen('DELETED')) || kind.plural === 'namespaces'
      ? true
      : events.slice(0, 200),
  )
  return results
}
