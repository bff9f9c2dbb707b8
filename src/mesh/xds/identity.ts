// Who a proxy is: by what it says of itself and what its token says. Pure.

import { fromStruct } from '#api/xds'
import type { Message } from '#wire'

/** Who a proxy's token says it is. */
export interface ProxyUser {
  readonly name: string
  readonly groups: readonly string[]
  readonly extra?: Readonly<Record<string, readonly string[]>>
  /** The address it calls from, of one without a token. */
  readonly peer?: string
}

/** A proxy that is connected. */
export interface ProxyIdentity {
  /** "pod.namespace". */
  readonly id: string
  /** Its whole id, "sidecar~ip~pod.namespace~domain". */
  readonly node: string
  readonly role: 'sidecar' | 'router'
  /** The pod's name. */
  readonly name: string
  readonly user: ProxyUser
  readonly ip: string
  readonly namespace: string
  readonly metadata: Readonly<Record<string, unknown>>
  /** "region/zone/subzone", as far as it says. */
  readonly locality: string
}

/** "sidecar~ip~pod.namespace~domain", Istio's node id. */
export function identify(node: Message, user: ProxyUser): ProxyIdentity {
  const [role, ip = '', id = ''] = String(node.id ?? '').split('~')
  const dot = id.lastIndexOf('.')
  return {
    id,
    node: String(node.id ?? ''),
    role: role === 'router' ? 'router' : 'sidecar',
    ip,
    name: id.slice(0, dot),
    namespace: id.slice(dot + 1),
    metadata: fromStruct(node.metadata),
    locality: localityOf(node.locality),
    user,
  }
}

const localityOf = ({ region = '', zone = '', sub_zone = '' }: Message = {}): string =>
  [region, zone, sub_zone].join('/').replace(/\/+$/, '')

/** Why a proxy may not call itself what it does: its token is for another pod or namespace. */
export function mismatch({ id, name, namespace, user }: ProxyIdentity): string | undefined {
  const [, , owner] = user.name.split(':')
  const pod = user.extra?.['authentication.kubernetes.io/pod-name']?.[0]
  if (owner === namespace && (pod === undefined || pod === name)) return undefined
  return `the token of ${user.name} is not one of the proxy ${id}`
}
