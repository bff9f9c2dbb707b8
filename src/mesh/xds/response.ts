// A discovery response in pieces: what many proxies are sent alike is encoded once and not copied for each. Pure
// (envoy/service/discovery/v3/discovery.proto).

import { Writer } from '#wire'
import type { WireResource } from './resource-set.ts'

export interface ResponseOptions {
  readonly url: string
  /** It is the version as well. */
  readonly nonce: string
  readonly delta: boolean
  readonly resources: readonly WireResource[]
  /** Names that are gone (delta only). */
  readonly removed: readonly string[]
}

/** A body from this size on is a piece of its own, bytes. */
const APART = 2048

/** Numbers of fields. */
const FIELD = { version: 1, resources: 2, url: 4, nonce: 5, removed: 6 } as const
const RESOURCE = { version: 1, any: 2, name: 3 } as const
const ANY = { url: 1, value: 2 } as const

const tag = (field: number) => field * 8 + 2
const sizeOfLength = (n: number): number => (n < 128 ? 1 : 1 + sizeOfLength(Math.floor(n / 128)))
const sizeOf = (length: number): number => 1 + sizeOfLength(length) + length

/** The pieces of a DiscoveryResponse or a DeltaDiscoveryResponse, one after the other. */
export function responseParts({ url, nonce, delta, resources, removed }: ResponseOptions): Uint8Array[] {
  const parts: Uint8Array[] = []
  let out = new Writer()
  const text = (field: number, value: string) => {
    out.varint(tag(field))
    out.text(value)
  }
  text(FIELD.version, nonce)
  text(FIELD.url, url)
  text(FIELD.nonce, nonce)
  for (const { name, version, body } of resources) {
    const any = sizeOf(url.length) + sizeOf(body.length)
    out.varint(tag(FIELD.resources))
    if (delta) {
      out.varint(sizeOf(version.length) + sizeOf(Buffer.byteLength(name)) + sizeOf(any))
      text(RESOURCE.version, version)
      text(RESOURCE.name, name)
      out.varint(tag(RESOURCE.any))
    }
    out.varint(any)
    text(ANY.url, url)
    out.varint(tag(ANY.value))
    if (body.length < APART) {
      out.bytes(body)
      continue
    }
    out.varint(body.length)
    parts.push(out.finish(), body)
    out = new Writer()
  }
  if (delta) for (const name of removed) text(FIELD.removed, name)
  parts.push(out.finish())
  return parts
}
