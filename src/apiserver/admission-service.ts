// Admission of Services: cluster addresses and node ports are handed out here.

import { errors, type FieldError, field, groupResource, type Json, type KubeObject } from '#api'
import { fnv1a } from '#base'
import { Claims } from './claims.ts'
import type { Admission, AdmissionRequest } from './identity.ts'
import type { ObjectStore } from './object-store.ts'
import type { WatchCache } from './watch-cache.ts'

export interface ServiceRange {
  /** First three octets are the network: "10.96.0.0/16" or smaller. */
  cidr: string
  nodePorts: readonly [number, number]
}

/** Node ports given to Services of type NodePort and LoadBalancer. */
const NEEDS_NODE_PORT = new Set(['NodePort', 'LoadBalancer'])

/** Gives Services their addresses and node ports; each is one Service's, whichever server hands it out. */
export function serviceAdmission(store: ObjectStore, services: WatchCache, range: ServiceRange): Admission {
  const { base, size } = parseCidr(range.cidr)
  const address = (offset: number) => toText(base + offset)
  /** Whose an address or a port is, of the Services that are stored. */
  const owners = new Map<string, string>()
  const pending = new Claims(store, 'services', (uid, key) => owners.get(key) === uid)
  for (const { object } of services.entries()) for (const key of claims(object)) owners.set(key, object.metadata.uid)
  services.subscribe({ namespace: '' }, ({ events }) => {
    for (const { type, entry, previous } of events) {
      const kept = type === 'DELETED' ? [] : claims(entry.object)
      for (const key of kept) owners.set(key, entry.object.metadata.uid)
      if (!previous) continue
      const { uid } = previous.object.metadata
      for (const key of claims(previous.object)) {
        if (kept.includes(key)) continue
        if (owners.get(key) === uid) owners.delete(key)
        pending.release(key, uid)
      }
    }
  })
  /** Addresses and ports people asked for that are another's. */
  const refused = new WeakMap<object, Set<string>>()
  return {
    name: 'ServiceAddresses',
    mutate(request) {
      if (groupResource(request.kind) !== 'services' || request.subresource || request.operation === 'DELETE') return
      return allocate(request)
    },
    validate({ kind, subresource, object }) {
      if (groupResource(kind) !== 'services' || subresource) return []
      const problems: FieldError[] = []
      const { spec } = object
      const others = refused.get(object)
      const ip = spec.clusterIP
      if (ip && ip !== 'None') {
        if (!inRange(ip))
          problems.push(
            field.invalid(
              'spec.clusterIPs',
              [ip],
              `failed to allocate IP ${ip}: the provided IP (${ip}) is not in the valid range. The range of valid IPs is ${range.cidr}`,
            ),
          )
        else if (others?.has(ip))
          problems.push(
            field.invalid('spec.clusterIPs', [ip], `failed to allocate IP ${ip}: provided IP is already allocated`),
          )
      }
      const [low, high] = range.nodePorts
      for (const [i, port] of (spec.ports ?? []).entries()) {
        if (!port.nodePort) continue
        if (port.nodePort < low || port.nodePort > high)
          problems.push(
            field.invalid(
              `spec.ports[${i}].nodePort`,
              port.nodePort,
              `provided port is not in the valid range. The range of valid ports is ${low}-${high}`,
            ),
          )
        else if (others?.has(`port/${port.nodePort}`))
          problems.push(field.invalid(`spec.ports[${i}].nodePort`, port.nodePort, 'provided port is already allocated'))
      }
      return problems
    },
    settle(request, stored) {
      if (groupResource(request.kind) === 'services') pending.settle(request, stored)
    },
  }

  async function allocate(request: AdmissionRequest): Promise<void> {
    const { object, old, context } = request
    const spec = object.spec
    if (old?.spec && old.spec.type !== spec.type) dropFieldsOfType(spec, old.spec)
    if (spec.type === 'ExternalName') {
      delete spec.clusterIP
      delete spec.clusterIPs
      return
    }
    await store.consistent()
    const { uid } = object.metadata
    const take = async (key: string): Promise<boolean> => {
      const owner = owners.get(key)
      return owner ? owner === uid : context.dryRun || (await pending.take(key, uid, request))
    }
    const wanted = async (key: string) => {
      if (await take(key)) return
      if (!refused.has(object)) refused.set(object, new Set())
      refused.get(object)!.add(key)
    }
    if (old?.spec?.clusterIP && !spec.clusterIP) spec.clusterIP = old.spec.clusterIP
    if (!spec.clusterIP) {
      // The lower part of the range is left to addresses people choose.
      const start = 256 + (fnv1a(`${object.metadata.namespace}/${object.metadata.name}`) % Math.max(1, size - 512))
      for (let i = 0; i < size - 2; i++) {
        const offset = 1 + ((start + i) % (size - 2))
        if (!(await take(address(offset)))) continue
        spec.clusterIP = address(offset)
        break
      }
      if (!spec.clusterIP)
        throw errors.internal(new Error(`failed to allocate a serviceIP: range ${range.cidr} is full`))
    } else if (spec.clusterIP !== 'None' && inRange(spec.clusterIP)) await wanted(spec.clusterIP)
    spec.clusterIPs = [spec.clusterIP]
    const [low, high] = range.nodePorts
    const want = NEEDS_NODE_PORT.has(spec.type)
    for (const port of (spec.ports ?? []) as Json[]) {
      if (!want) {
        if (old && NEEDS_NODE_PORT.has(old.spec?.type)) delete port.nodePort
        continue
      }
      const before = old?.spec?.ports?.find((p: Json) => p.port === port.port && p.protocol === port.protocol)?.nodePort
      if (!port.nodePort && before) port.nodePort = before
      if (port.nodePort) {
        if (port.nodePort >= low && port.nodePort <= high) await wanted(`port/${port.nodePort}`)
        continue
      }
      const taken = new Set((spec.ports as Json[]).map((p) => p.nodePort))
      for (const candidate of nodePortsToTry(low, high)) {
        if (taken.has(candidate) || !(await take(`port/${candidate}`))) continue
        port.nodePort = candidate
        break
      }
      if (!port.nodePort)
        throw errors.internal(new Error(`failed to allocate a nodePort: range ${low}-${high} is full`))
    }
  }

  function inRange(ip: string): boolean {
    const offset = parseIp(ip) - base
    return offset > 0 && offset < size
  }
}

/**
 * All ports of a range, from a random one on. The lowest come last: they are left to ports people choose
 * (KEP-3668: a thirty-second of the range, at least 16 and at most 128 ports, none of a range of 16 or less).
 */
function* nodePortsToTry(low: number, high: number): Generator<number> {
  const count = high - low + 1
  const chosen = count <= 16 ? 0 : Math.min(Math.max(16, Math.floor(count / 32)), 128)
  const others = count - chosen
  const start = Math.floor(Math.random() * others)
  for (let i = 0; i < others; i++) yield low + chosen + ((start + i) % others)
  for (let i = 0; i < chosen; i++) yield low + i
}

const OUTSIDE = new Set(['NodePort', 'LoadBalancer'])

/**
 * A Service of another type now loses what only its old type had, unless it was changed with the type
 * (upstream's dropTypeDependentFields).
 */
function dropFieldsOfType(spec: Json, old: Json): void {
  const drop = (name: string, had: boolean, has: boolean) => {
    if (had && !has && JSON.stringify(spec[name]) === JSON.stringify(old[name])) delete spec[name]
  }
  const outside = [OUTSIDE.has(old.type), OUTSIDE.has(spec.type)] as const
  const balanced = [old.type === 'LoadBalancer', spec.type === 'LoadBalancer'] as const
  drop('externalTrafficPolicy', ...outside)
  drop('healthCheckNodePort', ...balanced)
  drop('allocateLoadBalancerNodePorts', ...balanced)
  drop('loadBalancerClass', ...balanced)
  for (const name of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy', 'internalTrafficPolicy'])
    drop(name, old.type !== 'ExternalName', spec.type !== 'ExternalName')
  drop('externalName', old.type === 'ExternalName', spec.type === 'ExternalName')
}

/** What a Service holds: its address, and its node ports. */
function claims(service: KubeObject): string[] {
  const keys: string[] = []
  if (service.spec?.clusterIP && service.spec.clusterIP !== 'None') keys.push(service.spec.clusterIP)
  for (const p of service.spec?.ports ?? []) if (p.nodePort) keys.push(`port/${p.nodePort}`)
  return keys
}

function parseCidr(cidr: string): { base: number; size: number } {
  const [ip = '', bits = '16'] = cidr.split('/')
  return { base: parseIp(ip), size: 2 ** (32 - Number(bits)) }
}

function parseIp(ip: string): number {
  const parts = ip.split('.').map(Number)
  if (parts.length !== 4 || parts.some((p) => !(p >= 0 && p < 256))) return Number.NaN
  return parts.reduce((n, p) => n * 256 + p, 0)
}

function toText(value: number): string {
  return [24, 16, 8, 0].map((s) => Math.floor(value / 2 ** s) % 256).join('.')
}
