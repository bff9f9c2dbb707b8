// From YAML to xDS: every file of test/golden is translated for the proxy it names and compared with what is expected.
// UPDATE_GOLDEN=1 writes what is made; it is to be read before it is committed.

import assert from 'node:assert/strict'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { parse, stringify } from 'yaml'
import type { Json } from '#api'
import { toJson } from '#api/xds'
import { GOLDEN, type GoldenCase, goldenFiles, makeGolden, readGolden } from '#kit'
import type { XdsResources } from '#mesh'
import { SYSTEM_ROOTS } from '../../src/mesh/translate/sds.ts'
import { KINDS } from '../../src/mesh/xds/resource-set.ts'
import { ConfigStore } from '../../src/proxy/config/config-store.ts'
import { Resources } from '../../src/proxy/config/resources.ts'

const glob = (pattern: string) =>
  new RegExp(
    `^${pattern
      .split('*')
      .map((s) => s.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
      .join('.*')}$`,
  )

/** Files of certificates are not there, nothing else may be wrong. */
const REFUSED = /^(?!.*: cannot be read$)./m

/** Resources as JSON, those that are to be shown, and all of them taken by our own data plane. */
function shown(of: GoldenCase, resources: XdsResources): Json {
  const wanted = of.show?.map(glob)
  const result: Json = {}
  const store = new Resources(new ConfigStore(), () => {})
  for (const { kind, type, url } of KINDS) {
    const made = [...resources[kind]].filter(([name]) => name !== SYSTEM_ROOTS)
    const told = made.map(([name, m]) => ({ name, version: '1', bytes: type.encode(m) }))
    // A client of gRPC takes what a proxy does not.
    if (of.proxy.generator !== 'grpc')
      assert.doesNotMatch(store.apply(url, told, [], true) ?? '', REFUSED, 'the data plane takes it')
    for (const { name, bytes } of told)
      if (!wanted || wanted.some((w) => w.test(`${kind}/${name}`)))
        (result[kind] ??= {})[name] = toJson(type.name, type.decode(bytes))
  }
  return result
}

for (const file of goldenFiles()) {
  const name = basename(file, '.yaml')
  test(`golden: ${name}`, () => {
    const { of, objects } = readGolden(file)
    const { resources, status, findings } = makeGolden(of, objects)
    const made = {
      ...shown(of, resources),
      ...(Object.keys(status).length > 0 ? { status } : {}),
      findings,
    }
    const text = stringify(JSON.parse(JSON.stringify(made)), { lineWidth: 0, aliasDuplicateObjects: false })
    const expected = join(GOLDEN, `${name}.expected.yaml`)
    if (process.env.UPDATE_GOLDEN) writeFileSync(expected, text)
    assert.ok(existsSync(expected), `${expected} is missing; UPDATE_GOLDEN=1 writes it`)
    assert.deepEqual(parse(text), parse(readFileSync(expected, 'utf8')))
  })
}
