// Admission of Services: cluster addresses and node ports are handed out here.

import { errors, type FieldError, field, groupResource, type Json, type KubeObject } from '#api'
import { fnv1a } from '#base'
import type { Admission } from './identity.ts'
import type { WatchCache } from './watch-cache.ts'

export interface ServiceRange {
  /** First three octets are the network: "10.96.0.0/16" or smaller. */
  cidr: string
  nodePorts: readonly [number, number]
}

/** Node ports given to Services of type NodePort and LoadBalancer. */
const NEEDS_NODE_PORT = new Set(['NodePort', 'LoadBalancer'])

/** Reserves addresses while a create is on its way to the store. */
export function serviceAdmission(services: WatchCache, range: ServiceRange): Admission {
  /** Addresses and ports handed out whose Service is not stored yet; dropped after a while. */
  const pending = new Map<string, number>()
  const { base, size } = parseCidr(range.cidr)
  const address = (offset: number) => toText(base + offset)
  return {
    name: 'ServiceAddresses',
    mutate({ kind, operation, subresource, object, old, context }) {
      if (groupResource(kind) !== 'services' || subresource || operation === 'DELETE') return
      const spec = object.spec
      if (old?.spec && old.spec.type !== spec.type) dropFieldsOfType(spec, old.spec)
      const used = new Set<string>()
      for (const { object: other } of services.entries())
        if (other.metadata.uid !== object.metadata.uid) for (const key of claims(other)) used.add(key)
      const now = Date.now()
      for (const [key, until] of pending) {
        if (until < now) pending.delete(key)
        else used.add(key)
      }
      const take = (key: string) => {
        if (!context.dryRun && operation === 'CREATE') pending.set(key, now + 5000)
      }
      if (spec.type === 'ExternalName') {
        delete spec.clusterIP
        delete spec.clusterIPs
        return
      }
      if (old?.spec?.clusterIP && !spec.clusterIP) spec.clusterIP = old.spec.clusterIP
      if (!spec.clusterIP) {
        // The lower part of the range is left to addresses people choose.
        const start = 256 + (fnv1a(`${object.metadata.namespace}/${object.metadata.name}`) % Math.max(1, size - 512))
        for (let i = 0; i < size - 2; i++) {
          const offset = 1 + ((start + i) % (size - 2))
          if (used.has(address(offset))) continue
          spec.clusterIP = address(offset)
          break
        }
        if (!spec.clusterIP)
          throw errors.internal(new Error(`failed to allocate a serviceIP: range ${range.cidr} is full`))
      }
      if (spec.clusterIP !== 'None') take(spec.clusterIP)
      spec.clusterIPs = [spec.clusterIP]
      const [low, high] = range.nodePorts
      const want = NEEDS_NODE_PORT.has(spec.type)
      for (const port of (spec.ports ?? []) as Json[]) {
        if (!want) {
          if (old && NEEDS_NODE_PORT.has(old.spec?.type)) delete port.nodePort
          continue
        }
        const before = old?.spec?.ports?.find(
          (p: Json) => p.port === port.port && p.protocol === port.protocol,
        )?.nodePort
        if (!port.nodePort && before) port.nodePort = before
        if (!port.nodePort) {
          const count = high - low + 1
          const start = Math.floor(Math.random() * count)
          for (let i = 0; i < count; i++) {
            const candidate = low + ((start + i) % count)
            if (used.has(`port/${candidate}`)) continue
            port.nodePort = candidate
            break
          }
        }
        used.add(`port/${port.nodePort}`)
        take(`port/${port.nodePort}`)
      }
    },
    validate({ kind, subresource, object }) {
      if (groupResource(kind) !== 'services' || subresource) return []
      const problems: FieldError[] = []
      const { spec } = object
      const others = services.entries().filter((e) => e.object.metadata.uid !== object.metadata.uid)
      const ip = spec.clusterIP
      if (ip && ip !== 'None') {
        const offset = parseIp(ip) - base
        if (!(offset > 0 && offset < size))
          problems.push(
            field.invalid(
              'spec.clusterIPs',
              [ip],
              `failed to allocate IP ${ip}: the provided IP (${ip}) is not in the valid range. The range of valid IPs is ${range.cidr}`,
            ),
          )
        else if (others.some((e) => e.object.spec?.clusterIP === ip))
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
        else if (
          others.some((e) =>
            (e.object.spec?.ports ?? []).some(
              (p: Json) => p.nodePort === port.nodePort && p.protocol === port.protocol,
            ),
          )
        )
          problems.push(field.invalid(`spec.ports[${i}].nodePort`, port.nodePort, 'provided port is already allocated'))
      }
      return problems
    },
  }
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
