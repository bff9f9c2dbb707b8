// What Istio refuses in ServiceEntries, WorkloadEntries and WorkloadGroups, in its wording. Pure.

import { isIP } from 'node:net'
import type { Json } from '#api'
import { isSocket } from '../model/unix-socket.ts'
import {
  type Check,
  cidr,
  exportTo,
  host,
  IP,
  isPort,
  LABEL_VALUE,
  type Problems,
  portMessage,
  selectorLabels,
  socket,
  unlabelled,
} from './problems.ts'

/** Checks the spec of a ServiceEntry. */
export const serviceEntry: Check = (spec, p) => {
  const { hosts = [], addresses = [], ports = [], resolution = 'NONE', endpoints = [], workloadSelector } = spec
  p.check(hosts.length > 0, 'spec.hosts', 'service entry must have at least one host')
  for (const [i, h] of (hosts as string[]).entries()) {
    p.check(h !== '*', `spec.hosts[${i}]`, `invalid host ${h}`)
    host(h, `spec.hosts[${i}]`, p)
  }
  for (const [i, a] of (addresses as string[]).entries())
    p.check(cidr(a), `spec.addresses[${i}]`, `invalid IP address or CIDR: ${a}`)
  const wide = (addresses as string[]).some((a) => a.includes('/') && !a.endsWith('/32'))
  p.check(
    !(wide && !['NONE', 'STATIC'].includes(resolution)),
    'spec.addresses',
    'CIDR addresses are allowed only for NONE/STATIC resolution types',
  )
  const [names, numbers] = [new Set<string>(), new Set<number>()]
  for (const [i, port] of (ports as Json[]).entries()) {
    p.check(isPort(port.number), `spec.ports[${i}].number`, portMessage(port.number))
    p.check(port.name, `spec.ports[${i}].name`, 'name is required')
    p.check(
      !names.has(port.name),
      `spec.ports[${i}].name`,
      `service entry port name ${JSON.stringify(port.name)} already defined`,
    )
    p.check(!numbers.has(port.number), `spec.ports[${i}].number`, `service entry port ${port.number} already defined`)
    if (port.targetPort !== undefined)
      p.check(isPort(port.targetPort), `spec.ports[${i}].targetPort`, portMessage(port.targetPort))
    names.add(port.name)
    numbers.add(port.number)
  }
  p.check(
    !(workloadSelector && endpoints.length > 0),
    'spec.workloadSelector',
    'only one of WorkloadSelector or Endpoints is allowed in Service Entry',
  )
  p.check(
    !(
      workloadSelector &&
      (hosts as string[]).some((h) => h.startsWith('*')) &&
      resolution !== 'NONE' &&
      resolution !== 'STATIC'
    ),
    'spec.workloadSelector',
    'workload selector may not be used with wildcard hosts',
  )
  if (resolution === 'NONE')
    p.check(endpoints.length === 0, 'spec.endpoints', 'no endpoints should be provided for resolution type none')
  if (resolution === 'STATIC')
    for (const [i, e] of (endpoints as Json[]).entries())
      p.check(
        IP.test(e.address ?? '') || isSocket(e.address) || (!e.address && e.network),
        `spec.endpoints[${i}].address`,
        `endpoint address ${JSON.stringify(e.address ?? '')} is not a valid IP address`,
      )
  if (resolution === 'DNS' || resolution === 'DNS_ROUND_ROBIN') {
    if (endpoints.length === 0)
      for (const [i, h] of (hosts as string[]).entries())
        p.check(
          !h.startsWith('*'),
          `spec.hosts[${i}]`,
          `hosts must be FQDN if no endpoints are provided for resolution mode ${resolution}`,
        )
    p.check(
      !(resolution === 'DNS_ROUND_ROBIN' && endpoints.length > 1),
      'spec.endpoints',
      `there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN`,
    )
  }
  const local = (endpoints as Json[]).findIndex((e) => isSocket(e.address))
  if (local >= 0 && resolution === 'STATIC') {
    socket(endpoints[local].address, `spec.endpoints[${local}].address`, p)
    p.check(ports.length === 1, 'spec.ports', 'exactly 1 service port required for unix endpoints')
  }
  if (resolution === 'DNS' || resolution === 'DNS_ROUND_ROBIN')
    for (const [i, e] of (endpoints as Json[]).entries()) address(e, `spec.endpoints[${i}].address`, p)
  selectorLabels(workloadSelector?.labels, 'spec.workloadSelector.labels', p)
  p.warn(...unlabelled(workloadSelector, 'service entry'))
  for (const h of hosts as string[]) p.warn(!/^\*[^.]/.test(h), `partial wildcard ${JSON.stringify(h)} not allowed`)
  p.warn(
    hosts.length < 2 ||
      (resolution !== 'DNS' && resolution !== 'DNS_ROUND_ROBIN') ||
      !spec.addresses?.length ||
      !(ports as Json[]).some((port) => TCP.has(String(port.protocol ?? '').toUpperCase())),
    'service entry can not have more than one host specified simultaneously with address and tcp port',
  )
  for (const [i, e] of (endpoints as Json[]).entries())
    for (const name of Object.keys(e.ports ?? {}))
      p.check(
        names.has(name),
        `spec.endpoints[${i}].ports`,
        `endpoint port ${name} is not defined by the service entry`,
      )
  p.check(
    resolution !== 'DYNAMIC_DNS',
    'spec.resolution',
    "DYNAMIC_DNS is not supported; use DNS, or NONE with the host's own addresses",
  )
  exportTo(spec.exportTo, 'spec.exportTo', p)
}

/** Protocols that are bytes to Istio. */
const TCP = new Set(['TCP', 'HTTPS', 'TLS', 'MONGO', 'REDIS', 'MYSQL'])

/** What stands where a name or an address must. */
function address({ address: text }: Json, path: string, p: Problems): void {
  if (!text) return
  p.check(
    isIP(text) > 0 || FQDN.test(text),
    path,
    `endpoint address ${JSON.stringify(text)} is not a valid FQDN or an IP address`,
  )
}

const FQDN = /^[a-zA-Z0-9_]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9])?(\.[a-zA-Z0-9_]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9])?)*\.?$/

/** Checks the spec of a WorkloadEntry. */
export const workloadEntry: Check = (spec, p) => {
  p.check(spec.address || spec.network, 'spec.address', 'address is required')
  if (isSocket(spec.address)) {
    socket(spec.address, 'spec.address', p)
    p.check(!spec.ports, 'spec.ports', `unix endpoint ${spec.address} must not include ports`)
  } else address(spec, 'spec.address', p)
  for (const [name, n] of Object.entries(spec.ports ?? {})) p.check(isPort(n), `spec.ports[${name}]`, portMessage(n))
}

const LABEL_KEY = /^([-a-z0-9.]+\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/

/** Checks the spec of a WorkloadGroup. */
export const workloadGroup: Check = (spec, p) => {
  if (!spec.template) return p.add('spec.template', 'template is required')
  for (const [k, v] of Object.entries<string>(spec.metadata?.labels ?? {})) {
    p.check(LABEL_KEY.test(k), 'spec.metadata.labels', `invalid tag key: ${JSON.stringify(k)}`)
    p.check(LABEL_VALUE.test(v), 'spec.metadata.labels', `invalid tag value: ${JSON.stringify(v)}`)
  }
  const probe: Json | undefined = spec.probe
  if (probe)
    p.check(
      ['httpGet', 'tcpSocket', 'exec', 'grpc'].filter((k) => probe[k]).length === 1,
      'spec.probe',
      'exactly one of httpGet, tcpSocket, exec and grpc must be set',
    )
}
