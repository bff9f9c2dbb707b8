// What is asked for is told once to all who wait, and no more is remembered than is meant to be.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Demand } from './demand.ts'

test('a name is asked for once, whoever waits is told, and absence is remembered until it comes', () => {
  const demand = new Demand()
  const asked: string[] = []
  demand.onAsk = (name) => asked.push(name)
  let told = 0
  demand.ask('a', () => told++)
  demand.ask('a', () => told++)
  assert.deepEqual([asked, demand.isAwaited('a'), demand.isAbsent('a')], [['a'], true, false])
  demand.tell('a', true)
  assert.deepEqual([told, demand.isAwaited('a'), demand.isAbsent('a')], [2, false, true])
  demand.tell('a')
  assert.equal(demand.isAbsent('a'), false)
  demand.tell('never asked for', true)
  assert.equal(demand.isAbsent('never asked for'), false)
})

// Tables of hosts that a client asked for by the thousand stayed for ever, though no longer asked for.
test('of too many names the first is forgotten, and who waits for it goes on', () => {
  const demand = new Demand(2)
  const forgotten: string[] = []
  demand.onForget = (name) => forgotten.push(name)
  let told = 0
  for (const name of ['a', 'b', 'c']) demand.ask(name, () => told++)
  assert.deepEqual([[...demand.names], forgotten, told], [['b', 'c'], ['a'], 1])
  for (const name of demand.names) demand.tell(name)
})

test('where there is a way without it, only what is absent is forgotten', () => {
  const demand = new Demand(2, true)
  const forgotten: string[] = []
  demand.onForget = (name) => forgotten.push(name)
  for (const name of ['here', 'absent', 'next']) {
    demand.ask(name, () => {})
    demand.tell(name, name === 'absent')
  }
  assert.deepEqual([[...demand.names], forgotten], [['here', 'next'], ['absent']])
})
