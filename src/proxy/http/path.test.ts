// One way to write a path, so that a route cannot be walked around.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizePath, normalizeTarget } from './path.ts'

test('dot segments, backslashes and needless escapes do not walk around a route', () => {
  const cases: [string, string][] = [
    ['/static/../admin', '/admin'],
    ['/static/%2e%2E/admin', '/admin'],
    ['/static\\..\\admin', '/admin'],
    ['/a/./b/.', '/a/b/'],
    ['/a/b/..', '/a/'],
    ['/../..', '/'],
    ['/%61bc', '/abc'],
    ['/a%2fb', '/a%2fb'],
    ['/a%zz%', '/a%zz%'],
    ['/a/..;x=1/b', '/b'],
    ['/a/.;', '/a/'],
    ['/"<b>', '/%22%3Cb%3E'],
    ['/a//b', '/a//b'],
    ['/plain/path.html', '/plain/path.html'],
  ]
  for (const [path, wanted] of cases) assert.equal(normalizePath(path), wanted, path)
  assert.equal(normalizePath('/a%00b'), undefined)
})

test('slashes are merged and unescaped as the mesh says, and queries stay', () => {
  const base = { normalizePath: true, mergeSlashes: false, escapedSlashes: 'keep' } as const
  const cases: [string, Parameters<typeof normalizeTarget>[1], unknown][] = [
    ['/plain/path.html?x=/../y', base, '/plain/path.html?x=/../y'],
    ['/a/..?q=1', base, '/?q=1'],
    ['*', base, '*'],
    ['/a//b', base, '/a//b'],
    ['/a//b?c=//', { ...base, mergeSlashes: true }, '/a/b?c=//'],
    ['/a%2Fb', { ...base, escapedSlashes: 'forward' }, '/a/b'],
    ['/a%2F..%2fb', { ...base, escapedSlashes: 'forward', mergeSlashes: true }, '/b'],
    ['/a%5Cb', { ...base, escapedSlashes: 'reject' }, { reject: true }],
    ['/a%2fb', { ...base, escapedSlashes: 'redirect' }, { redirect: '/a/b' }],
  ]
  for (const [target, rules, wanted] of cases) assert.deepEqual(normalizeTarget(target, rules), wanted, target)
})
