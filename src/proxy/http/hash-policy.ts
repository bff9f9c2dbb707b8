// What of a request decides its host when hashing balances.

import { randomBytes } from 'node:crypto'
import type { HashPolicy } from '../config/model.ts'
import { hashText } from '../upstream/hash.ts'
import type { Exchange } from './exchange.ts'
import { queryParameter, requestField } from './request.ts'

/** The hash by a route's policies; undefined when none of them finds anything. */
export function hashRequest(policies: readonly HashPolicy[], exchange: Exchange): number | undefined {
  let hash: number | undefined
  for (const policy of policies) {
    const text = textOf(policy, exchange)
    if (text === undefined) continue
    // Several policies together: each turns what was before.
    hash = hashText(text, hash === undefined ? 0 : (hash << 1) | (hash >>> 31))
    if (policy.terminal) break
  }
  return hash
}

function textOf(policy: HashPolicy, exchange: Exchange): string | undefined {
  const { request } = exchange
  switch (policy.kind) {
    case 'header':
      return requestField(request, policy.name)
    case 'query':
      return queryParameter(request.path, policy.name)
    case 'sourceIp':
      return exchange.client
    case 'cookie': {
      const told = cookieOf(requestField(request, 'cookie'), policy.name)
      if (told !== undefined || policy.ttl === undefined) return told
      const value = randomBytes(8).toString('hex')
      const age = policy.ttl > 0 ? `; Max-Age=${Math.round(policy.ttl / 1000)}` : ''
      const path = policy.path ? `; Path=${policy.path}` : ''
      exchange.onResponse((_status, fields) =>
        fields.push('set-cookie', `${policy.name}="${value}"${age}${path}${policy.attributes}; HttpOnly`),
      )
      return value
    }
  }
}

function cookieOf(field: string | undefined, name: string): string | undefined {
  for (const part of field?.split(/[;,]/) ?? []) {
    const at = part.indexOf('=')
    if (at >= 0 && part.slice(0, at).trim() === name)
      return part
        .slice(at + 1)
        .trim()
        .replace(/^"(.*)"$/, '$1')
  }
  return undefined
}
