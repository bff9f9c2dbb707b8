// Resources as they go over the wire, encoded once for all proxies, and what differs between two sets of them. Pure.

import { createHash } from 'node:crypto'
import { Cluster, ClusterLoadAssignment, Listener, RouteConfiguration, Secret, TYPE } from '#api/xds'
import type { Message, MessageType } from '#wire'
import type { XdsResources } from '../model/view.ts'

export type Kind = keyof XdsResources

/** The types of resources, in the order in which they are sent: what is named comes before what names it. */
export const KINDS: readonly { readonly kind: Kind; readonly url: string; readonly type: MessageType }[] = [
  { kind: 'clusters', url: TYPE.cluster, type: Cluster },
  { kind: 'endpoints', url: TYPE.endpoint, type: ClusterLoadAssignment },
  { kind: 'secrets', url: TYPE.secret, type: Secret },
  { kind: 'listeners', url: TYPE.listener, type: Listener },
  { kind: 'routes', url: TYPE.route, type: RouteConfiguration },
]

export interface WireResource {
  readonly name: string
  /**
   * What a client may ask for it by: the service's host that a cluster is of, the name of a listener that connections to
   * one address are redirected to. Undefined of what every proxy has.
   */
  readonly host: string | undefined
  readonly body: Buffer
  /** Of the content: the same after a restart. */
  readonly version: string
}

/** The host that a cluster or its endpoints are of, "outbound|80|v1|host"; undefined where that is no service's. */
export function hostOf(name: string): string | undefined {
  const [direction, , , host] = name.split('|')
  return direction === 'outbound' ? host : undefined
}

/** Resources of one type by name. Two sets are the same object when they have the same resources. */
export type ResourceSet = ReadonlyMap<string, WireResource>

/** The resources of one layer, by type. */
export type EncodedLayer = Readonly<Record<Kind, ResourceSet>>

export const EMPTY: ResourceSet = new Map()

const encoded = new WeakMap<Message, WireResource>()

/** Encodes resources. What is as it was in `before` stays the same object, the whole set too if all of it is. */
export function encodeSet(type: MessageType, messages: ReadonlyMap<string, Message>, before = EMPTY): ResourceSet {
  if (messages.size === 0) return EMPTY
  const set = new Map<string, WireResource>()
  let same = before.size === messages.size
  for (const [name, message] of messages) {
    const old = before.get(name)
    const now = encoded.get(message) ?? encodeOne(type, name, message, old)
    encoded.set(message, now)
    if (now !== old) same = false
    set.set(name, now)
  }
  return same ? before : set
}

function encodeOne(type: MessageType, name: string, message: Message, old: WireResource | undefined): WireResource {
  const bytes = type.encode(message)
  if (old?.body.equals(bytes)) return old
  // Of its own size: what is cut out of a larger piece would keep all of that.
  const body = Buffer.allocUnsafeSlow(bytes.length)
  body.set(bytes)
  return wireResource(name, type === Listener ? addressed(name, message) : hostOf(name), body)
}

/** The name of a listener that is for connections to one address; others must be there before anybody connects. */
function addressed(name: string, { bind_to_port, address }: Message): string | undefined {
  return bind_to_port?.value === false && address?.socket_address?.address !== '0.0.0.0' ? name : undefined
}

/** A resource out of its bytes. */
export const wireResource = (name: string, host: string | undefined, body: Buffer): WireResource => ({
  name,
  host,
  body,
  version: createHash('sha1').update(body).digest('base64url').slice(0, 12),
})

/** Encodes a layer's resources; what is as in `before` is the same object. */
export function encodeLayer(made: XdsResources, before: EncodedLayer | undefined): EncodedLayer {
  const layer: Partial<Record<Kind, ResourceSet>> = {}
  for (const { kind, type } of KINDS) layer[kind] = encodeSet(type, made[kind], before?.[kind])
  return layer as EncodedLayer
}

export interface Difference {
  readonly changed: readonly WireResource[]
  readonly removed: readonly string[]
}

const NONE: Difference = { changed: [], removed: [] }
const differences = new WeakMap<ResourceSet, WeakMap<ResourceSet, Difference>>()

/** What came or changed and what went between two sets; found once for all who go from one to the other. */
export function difference(before: ResourceSet, after: ResourceSet): Difference {
  if (before === after) return NONE
  const known = differences.get(before)?.get(after)
  if (known) return known
  const changed = [...after.values()].filter((r) => before.get(r.name) !== r)
  const removed = [...before.keys()].filter((name) => !after.has(name))
  const found = { changed, removed }
  const from = differences.get(before) ?? new WeakMap()
  differences.set(before, from)
  from.set(after, found)
  return found
}

/** The resource of a name in several layers. */
export function find(layers: readonly EncodedLayer[], kind: Kind, name: string): WireResource | undefined {
  for (const layer of layers) {
    const found = layer[kind].get(name)
    if (found) return found
  }
  return undefined
}
