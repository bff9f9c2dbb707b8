// Layers shared by proxies: made once a change, only when what they are made of changed, and without harm to others.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createSnapshot } from '../model/snapshot.ts'
import { emptyResources, type ProxyNode, viewOf } from '../model/view.ts'
import { Views } from './views.ts'

const SNAPSHOT = createSnapshot(viewOf({}))
const node = (namespace: string): ProxyNode => ({
  role: 'sidecar',
  namespace,
  labels: {},
  ip: '',
  locality: '',
  ports: [],
  trusted: true,
  readsSecrets: false,
  servesIngresses: false,
  config: {},
})
const cluster = (name: string) => ({ ...emptyResources(), clusters: new Map([[name, { name }]]) })

test('a layer is made once for all its proxies, and again only when its inputs are others', () => {
  let made = 0
  let input: object = {}
  const views = new Views(
    (_s, { namespace }) => {
      const make = () => {
        made++
        return cluster(namespace)
      }
      return [{ key: namespace, inputs: () => [input], make }]
    },
    () => assert.fail(),
  )
  const get = (proxy: object, namespace = 'a') =>
    views.of(
      proxy,
      () => SNAPSHOT,
      () => node(namespace),
    )
  const [first] = get({})
  assert.equal(get({})[0], first)
  assert.equal(made, 1)
  views.invalidate()
  assert.equal(get({})[0], first)
  assert.equal(made, 1, 'the inputs are the same')
  input = {}
  views.invalidate()
  assert.equal(get({})[0]?.clusters, first?.clusters, 'made again, and found to be the same')
  assert.equal(made, 2)
})

test('what cannot be made stays as it was, and others are made', () => {
  let broken = false
  const errors: string[] = []
  const views = new Views(
    (_s, { namespace }) => [
      {
        key: namespace,
        inputs: () => undefined,
        make: () => {
          if (broken && namespace === 'bad') throw new Error('on purpose')
          return cluster(`${namespace} ${broken}`)
        },
      },
    ],
    (key) => void errors.push(key),
  )
  const names = (namespace: string) => [
    ...(views
      .of(
        {},
        () => SNAPSHOT,
        () => node(namespace),
      )[0]
      ?.clusters.keys() ?? []),
  ]
  assert.deepEqual([names('bad'), names('good')], [['bad false'], ['good false']])
  broken = true
  views.invalidate()
  assert.deepEqual([names('bad'), names('good')], [['bad false'], ['good true']])
  assert.deepEqual(errors, ['bad'])
})
