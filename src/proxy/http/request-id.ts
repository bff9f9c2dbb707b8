// x-request-id: a UUID for every request, kept where the sender is trusted.

import type { HttpChain } from '../config/model.ts'

const HEX: readonly string[] = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'))

/** A version 4 UUID; it names, it need not be unguessable. */
function uuid(random: () => number): string {
  const word = () => (random() * 0x1_0000_0000) >>> 0
  const a = word()
  const b = word()
  const c = word()
  const d = word()
  const two = (n: number) => HEX[(n >>> 8) & 255]! + HEX[n & 255]!
  const version = (b & 0x0fff) | 0x4000
  const variant = (c & 0x3fff) | 0x8000
  return `${two(a >>> 16)}${two(a)}-${two(b >>> 16)}-${two(version)}-${two(variant)}-${two(c >>> 16)}${two(d >>> 16)}${two(d)}`
}

/** Sees to it that a request has an id: its own at the edge only when that is to be kept. */
export function requestId(fields: string[], chain: HttpChain, random: () => number): void {
  for (let i = 0; i < fields.length; i += 2)
    if (fields[i] === 'x-request-id') {
      if (chain.edge && !chain.keepRequestId) fields[i + 1] = uuid(random)
      return
    }
  fields.push('x-request-id', uuid(random))
}
