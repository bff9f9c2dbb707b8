// A route table in parts, for clients that ask for the hosts they need: the table with none but the host of all names,
// and tables of one host each, named "TABLE/HOST". Cut out of the bytes, which are not decoded for it. Pure.

import { type EncodedLayer, type ResourceSet, type WireResource, wireResource } from './resource-set.ts'

/** A table of no more hosts than this is told whole. */
const FEW = 50
/** Fields of RouteConfiguration and of VirtualHost (envoy.config.route.v3). */
const NAME = 1
const VIRTUAL_HOSTS = 2
const DOMAINS = 2
const IGNORE_PORT = 14
/** RouteConfiguration.vhds, empty: hosts that are not here are to be asked for. */
const VHDS = Buffer.from([(9 << 3) | 2, 0])

interface Parts {
  readonly bare: WireResource
  /** The table of the host that serves a name; undefined when none but that of all names does. */
  host(name: string): WireResource | undefined
}

const known = new WeakMap<WireResource, Parts | null>()

/** The parts of a table; undefined of one that is told whole. */
function partsOf(table: WireResource): Parts | undefined {
  let parts = known.get(table)
  if (parts === undefined) {
    parts = split(table)
    known.set(table, parts)
  }
  return parts ?? undefined
}

function split(table: WireResource): Parts | null {
  const hosts: Buffer[] = []
  const rest: Buffer[] = []
  let ignorePort = false
  for (const { field, value, whole } of fieldsOf(table.body)) {
    if (field === VIRTUAL_HOSTS) hosts.push(whole)
    else if (field !== NAME) rest.push(whole)
    if (field === IGNORE_PORT) ignorePort = value[0] === 1
  }
  if (hosts.length <= FEW) return null
  const exact = new Map<string, Buffer>()
  const suffixes: [string, Buffer][] = []
  const prefixes: [string, Buffer][] = []
  const all: Buffer[] = []
  for (const host of hosts) {
    const [inner] = fieldsOf(host)
    const domains = [...fieldsOf(inner!.value)].filter((f) => f.field === DOMAINS).map((f) => f.value.toString())
    if (domains.includes('*')) all.push(host)
    else
      for (const domain of domains)
        if (domain.startsWith('*')) suffixes.push([domain.slice(1), host])
        else if (domain.endsWith('*')) prefixes.push([domain.slice(0, -1), host])
        else exact.set(domain, host)
  }
  const longest = (a: [string, Buffer], b: [string, Buffer]) => b[0].length - a[0].length
  suffixes.sort(longest)
  prefixes.sort(longest)
  const made = new Map<string, WireResource>()
  return {
    bare: resource(table.name, [...rest, ...all, VHDS]),
    host(name) {
      const looked = ignorePort ? name.replace(/:\d+$/, '') : name
      const own = exact.get(looked)
      const host =
        own ??
        suffixes.find(([s]) => looked.endsWith(s) && looked.length > s.length)?.[1] ??
        prefixes.find(([p]) => looked.startsWith(p) && looked.length > p.length)?.[1]
      if (!host) return undefined
      const one = made.get(name) ?? resource(`${table.name}/${name}`, [...rest, host])
      // Names below a wildcard, and ports, are without end: they are not kept.
      if (own && looked === name) made.set(name, one)
      return one
    },
  }
}

function resource(name: string, parts: readonly Buffer[]): WireResource {
  const text = Buffer.from(name)
  const body = Buffer.concat([Buffer.from([(NAME << 3) | 2, ...varint(text.length)]), text, ...parts])
  return wireResource(name, undefined, body)
}

/** The routes of a client that has asked for these names. What has not changed since it last looked is the same object. */
export class RouteView {
  #from: readonly EncodedLayer[] | undefined
  #revision = -1
  #made: readonly EncodedLayer[] = []
  #last = new Map<string, WireResource>()

  /** `revision` is another number when the names may be others. */
  of(
    layers: readonly EncodedLayer[],
    names: ReadonlySet<string> | undefined,
    revision: number,
  ): readonly EncodedLayer[] {
    if (layers === this.#from && revision === this.#revision) return this.#made
    const last = this.#last
    this.#last = new Map()
    this.#from = layers
    this.#revision = revision
    this.#made = layers.map((layer) => ({ ...layer, routes: this.#routes(layer.routes, names, last) }))
    return this.#made
  }

  #routes(
    set: ResourceSet,
    names: ReadonlySet<string> | undefined,
    last: ReadonlyMap<string, WireResource>,
  ): ResourceSet {
    const routes = new Map<string, WireResource>()
    const put = (r: WireResource) => {
      const before = last.get(r.name)
      const same = before?.version === r.version ? before : r
      routes.set(r.name, same)
      this.#last.set(r.name, same)
    }
    for (const table of set.values()) put(partsOf(table)?.bare ?? table)
    for (const name of names ?? []) {
      const slash = name.indexOf('/')
      const table = slash < 0 ? undefined : set.get(name.slice(0, slash))
      const host = table && partsOf(table)?.host(name.slice(slash + 1))
      if (host) put(host)
    }
    return routes
  }
}

interface Field {
  readonly field: number
  /** What it holds; of a number, its bytes. */
  readonly value: Buffer
  /** With its tag and length. */
  readonly whole: Buffer
}

/** The fields of an encoded message, in order (protobuf.dev, encoding). */
function* fieldsOf(bytes: Buffer): Generator<Field> {
  let at = 0
  const number = () => {
    let value = 0
    for (let shift = 1; ; shift *= 128) {
      const byte = bytes[at++]!
      value += (byte & 127) * shift
      if (byte < 128) return value
    }
  }
  while (at < bytes.length) {
    const begin = at
    const tag = number()
    let from = at
    switch (tag & 7) {
      case 0:
        number()
        break
      case 1:
        at += 8
        break
      case 2: {
        const length = number()
        from = at
        at += length
        break
      }
      default:
        at += 4
    }
    yield { field: tag >>> 3, value: bytes.subarray(from, at), whole: bytes.subarray(begin, at) }
  }
}

function varint(value: number): number[] {
  const bytes: number[] = []
  for (; value > 127; value >>>= 7) bytes.push((value & 127) | 128)
  return [...bytes, value]
}
