// Every built-in kind × every verb and feature, over the wire. The table is docs/api-coverage.md.

import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { groupResource, type ResourceKind } from '#api'
import { coverageOf, FEATURES, type Feature, type Result, SAMPLES, startApi } from '#kit'

const PAGE = join(import.meta.dirname, '..', '..', 'docs', 'api-coverage.md')

/** What does not hold, and why. */
const KNOWN: Readonly<Record<string, string>> = {}

/** Kinds that are asked, not stored: what they are for is tested elsewhere. */
const ASKED = /review|^bindings$|^componentstatuses$/

test('every stored kind answers every verb and feature', async () => {
  await using api = await startApi()
  const kinds = api.resources.registry
    .all()
    .filter((k) => !k.custom && !k.converted && !ASKED.test(k.plural) && k.group !== 'metrics.k8s.io')
  const rows: [ResourceKind, Map<Feature, Result>][] = []
  const failures: string[] = []
  for (const kind of kinds) {
    const resource = groupResource(kind)
    if (['customresourcedefinitions.apiextensions.k8s.io', 'apiservices.apiregistration.k8s.io'].includes(resource))
      continue
    assert.ok(SAMPLES[resource], `there is no sample of ${resource}`)
    const results = await coverageOf(api, kind)
    rows.push([kind, results])
    for (const [feature, result] of results)
      if (typeof result === 'string' && !KNOWN[`${resource} ${feature}`])
        failures.push(`${resource}: ${feature}: ${result}`)
  }
  assert.deepEqual(failures, [])
  const page = render(rows)
  if (process.env.WRITE_COVERAGE) writeFileSync(PAGE, page)
  assert.equal(readFileSync(PAGE, 'utf8'), page, 'docs/api-coverage.md is out of date: npm run coverage')
})

/** Which kinds are read as protobuf depends on the field numbers found at set-up: the page does not say. */
const COLUMNS = FEATURES.filter((f) => f !== 'protobuf')

function render(rows: readonly [ResourceKind, Map<Feature, Result>][]): string {
  const cell = (r: Result) => (r === true ? '✓' : r === undefined ? '' : '✗')
  const lines = rows.map(([kind, results]) => {
    const version = kind.group ? `${kind.group}/${kind.version}` : kind.version
    return `| ${kind.kind} (${version}) | ${COLUMNS.map((f) => cell(results.get(f))).join(' | ')} |`
  })
  const known = Object.entries(KNOWN).map(([what, why]) => `* ${what}: ${why}`)
  return `# What of the Kubernetes API is served

Written by \`npm run coverage\` out of test/integration/coverage.test.ts, which sends every request of this table over
the wire and fails when one does not hold. An empty cell: the kind has no such thing, as upstream's has none.

Every kind is read and written as protobuf too (test/integration/protobuf.test.ts). The messages are those of the kubectl
that set-up finds, and newer fields than Debian's knows stand in src/apiserver/protobuf-newer-fields.ts; an object with a field
that neither has is answered as JSON, and a client that sends one as protobuf is told so with 415.

| kind | ${COLUMNS.join(' | ')} |
|---|${COLUMNS.map(() => '---').join('|')}|
${lines.join('\n')}

Old versions (\`extensions/v1beta1\` and others) are converted to the kinds above: test/integration/old-versions.test.ts.
Custom resources have the same verbs without strategic merge and protobuf, as upstream's: test/integration/custom-resources.test.ts.
Reviews (access, tokens), bindings, evictions, scale, logs, streams and proxies: test/integration/subresources.test.ts and test/e2e.

## Differences

${known.length > 0 ? `${known.join('\n')}\n` : ''}* Expressions (CEL) in custom resources, admission policies and device classes are stored and not evaluated: there is no
  evaluator yet; they are checked for presence, length and names only.
* Webhooks of admission and of conversion, and API services, are stored and not called: the steps they belong to are there.
* ResourceQuotas and LimitRanges are stored and not enforced.

See also docs/differences.md.
`
}
