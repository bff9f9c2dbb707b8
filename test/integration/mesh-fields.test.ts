// Every field of the traffic API takes effect: each occurrence in a golden file is taken away, and something must change.
// The fields for which nothing does are those that docs/mesh-support.md says are not acted on, and no others.

import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { parse, stringify } from 'yaml'
import type { Json, KubeObject } from '#api'
import { goldenFiles, makeGolden, readGolden } from '#kit'
import { DEFAULT_MESH } from '#mesh'
import { GATEWAY_API } from '../../src/mesh/schema/gateway-api.ts'
import type { Fields, Type } from '../../src/mesh/schema/idl.ts'
import { NETWORKING } from '../../src/mesh/schema/networking.ts'

const API: Readonly<Record<string, ReadonlyMap<string, Fields>>> = {
  'networking.istio.io': NETWORKING,
  'gateway.networking.k8s.io': GATEWAY_API,
}

/** Calls `found` for each field that is set below `value`, deepest first. */
function walk(
  messages: ReadonlyMap<string, Fields>,
  type: Type,
  value: Json,
  found: (field: string, of: Json, key: string) => void,
): void {
  if (value === undefined || value === null) return
  if (type.kind === 'list') for (const v of value as Json[]) walk(messages, type.of, v, found)
  else if (type.kind === 'map') for (const v of Object.values(value)) walk(messages, type.of, v as Json, found)
  else if (type.kind === 'message')
    for (const [field, of] of messages.get(type.name) ?? [])
      if (value[field] !== undefined) {
        walk(messages, of, value[field], found)
        found(`${type.name}.${field}`, value, field)
      }
}

const said = (file: string, objects: readonly KubeObject[]): string => {
  const { of } = readGolden(file)
  try {
    const { resources, status, findings } = makeGolden(of, objects)
    return JSON.stringify([Object.values(resources).map((m) => [...(m as Map<string, Json>)]), status, findings])
  } catch (error) {
    return `${error}`
  }
}

test('every field takes effect but those that are said not to', () => {
  const without = new Set<string>()
  for (const [group, messages] of Object.entries(API))
    for (const [message, fields] of messages)
      for (const field of fields.keys()) without.add(`${group} ${message}.${field}`)
  for (const file of goldenFiles()) {
    const { objects } = readGolden(file)
    const usual = said(file, objects)
    for (const object of objects) {
      const group = object.apiVersion.split('/')[0] ?? ''
      const messages = API[group]
      if (!messages) continue
      walk(messages, { kind: 'message', name: object.kind }, object.spec as Json, (field, of, key) => {
        if (!without.has(`${group} ${field}`)) return
        const value = of[key]
        delete of[key]
        // What is made of an object is kept with it: another must be looked at.
        if (said(file, structuredClone(objects)) !== usual) without.delete(`${group} ${field}`)
        of[key] = value
      })
    }
  }
  const fields = [...without].map((f) => f.split(' ')[1] ?? '').sort()
  const page = readFileSync(join(import.meta.dirname, '../../docs/mesh-support.md'), 'utf8')
  const listed = [...page.matchAll(/`([A-Z]\w+\.(?:[a-z]\w*|\*))`/g)].map(([, name = '']) => name)
  const told = listed.flatMap((name) =>
    name.endsWith('.*') ? fields.filter((f) => f.startsWith(name.slice(0, -1))) : [name],
  )
  assert.deepEqual(fields, [...new Set(told)].sort())
})

test('every field of MeshConfig that is read takes effect', () => {
  const file = goldenFiles().find((f) => f.endsWith('/mesh-config.yaml')) ?? ''
  const { objects } = readGolden(file)
  const map = objects.find((o) => o.kind === 'ConfigMap')
  const given = parse(map?.data?.mesh)
  const usual = said(file, objects)
  const without = Object.keys(given).filter((key) => {
    const { [key]: _left, ...rest } = given
    const others = objects.map((o) => (o === map ? { ...o, data: { mesh: stringify(rest) } } : o))
    return said(file, structuredClone(others)) === usual
  })
  assert.deepEqual(without, [])
  // Of these the API server's admission, the webhook, the gateway's, the zones' and the view's own tests tell.
  const elsewhere = [
    'rootNamespace',
    'trustDomain',
    'discoverySelectors',
    'enablePrometheusMerge',
    'ingressControllerMode',
    'defaultConfig',
    'zoneAwareLbSetting',
  ]
  const known = Object.keys(given).map((k) => (k === 'inboundTrafficPolicy' ? 'inboundLocalhost' : k))
  assert.deepEqual(
    Object.keys(DEFAULT_MESH).filter((k) => !known.includes(k) && !elsewhere.includes(k)),
    [],
  )
})
