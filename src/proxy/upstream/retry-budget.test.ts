import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RetryBudget } from './retry-budget.ts'

test('retries are borne as a share of what is under way, and never less than the least', () => {
  const budget = new RetryBudget({ percent: 25, least: 3, interval: 0 })
  for (let i = 0; i < 1000; i++) budget.count(i)
  assert.equal(budget.limit(0, 0), 3)
  assert.equal(budget.limit(12, 0), 3)
  assert.equal(budget.limit(100, 0), 25)
})

test('with an interval requests count for so long after they began, over or not', () => {
  const budget = new RetryBudget({ percent: 20, least: 0, interval: 1000 })
  for (let i = 0; i < 50; i++) budget.count(50)
  assert.equal(budget.limit(0, 50), 10)
  for (let i = 0; i < 50; i++) budget.count(550)
  assert.equal(budget.limit(5, 999), 20)
  assert.equal(budget.limit(0, 1060), 10)
  assert.equal(budget.limit(0, 1560), 0)
  // Long after, and as if time had not moved.
  budget.count(1e9)
  assert.equal(budget.limit(0, 1e9), 0)
  assert.equal(budget.limit(20, 5e9), 4)
})
