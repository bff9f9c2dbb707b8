// IPv4 addresses and ranges of them as numbers. Pure.

import type { Message } from '#wire'
import type { AddressRange } from './model.ts'

/** An IPv4 address as a number; undefined for others. */
export function ipv4(text: string): number | undefined {
  const m = /^(?:::ffff:)?(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/i.exec(text)
  if (!m) return undefined
  const bytes = m.slice(1).map(Number)
  return bytes.every((b) => b < 256) ? bytes.reduce((n, b) => n * 256 + b, 0) : undefined
}

/** CIDR ranges; those of IPv6 match nothing here. */
export function rangesOf(ranges: readonly Message[] | undefined): AddressRange[] {
  return (ranges ?? []).flatMap((r) => {
    const address = ipv4(r.address_prefix ?? '')
    return address === undefined ? [] : [{ address, bits: r.prefix_len?.value ?? 0 }]
  })
}

export function inRange(address: number, { address: base, bits }: AddressRange): boolean {
  return bits === 0 || address >>> (32 - bits) === base >>> (32 - bits)
}
