// One way to write a path, so that a route cannot be walked around.

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizePath } from './path.ts'

test('dot segments, backslashes and needless escapes do not walk around a route', () => {
  const cases: [string, string][] = [
    ['/static/../admin', '/admin'],
    ['/static/%2e%2E/admin', '/admin'],
    ['/static\\..\\admin', '/admin'],
    ['/a/./b/.', '/a/b/'],
    ['/a/b/..', '/a/'],
    ['/../..', '/'],
    ['/%61bc', '/abc'],
    ['/a%2fb', '/a%2Fb'],
    ['/a//b', '/a//b'],
    ['/plain/path.html?x=/../y', '/plain/path.html?x=/../y'],
    ['/a/..?q=1', '/?q=1'],
    ['*', '*'],
  ]
  for (const [path, wanted] of cases) assert.equal(normalizePath(path), wanted, path)
})
