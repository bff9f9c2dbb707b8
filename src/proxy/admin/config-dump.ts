// The configuration in force as Envoy's admin interface shows it (envoy.admin.v3.ConfigDump). Pure.

import { TYPE, toJson, toStruct, xds } from '#api/xds'
import type { Message } from '#wire'
import type { Known, Resources } from '../config/resources.ts'

const PREFIX = 'type.googleapis.com/'
const ADMIN = `${PREFIX}envoy.admin.v3.`

/** Who the proxy says it is. */
export interface NodeIdentity {
  readonly id: string
  readonly cluster: string
  readonly metadata: Record<string, unknown>
}

type Section = { '@type': string } & Record<string, unknown>

const messageOf = (type: string, { bytes }: Known) => xds(type.slice(PREFIX.length)).decode(bytes)

function shown(type: string, known: Known): unknown {
  return { '@type': type, ...(toJson(type.slice(PREFIX.length), messageOf(type, known)) as object) }
}

const stamp = ({ updated }: Known) => new Date(updated).toISOString()
const versionOf = (known: ReadonlyMap<string, Known>) => [...known.values()].at(-1)?.version ?? ''

/** All sections in Envoy's order; endpoints only when they are asked for. */
export function configDump(
  resources: Resources,
  node: NodeIdentity,
  options: { endpoints?: boolean } = {},
): { configs: Section[] } {
  const [clusters, listeners, routes, secrets, endpoints] = [
    TYPE.cluster,
    TYPE.listener,
    TYPE.route,
    TYPE.secret,
    TYPE.endpoint,
  ].map((type) => resources.of(type)) as [
    ReadonlyMap<string, Known>,
    ReadonlyMap<string, Known>,
    ReadonlyMap<string, Known>,
    ReadonlyMap<string, Known>,
    ReadonlyMap<string, Known>,
  ]
  const refused = (type: string, name: string) => {
    const details = resources.errors.get(type)?.get(name)
    return details ? { error_state: { details } } : {}
  }
  const metadata = toJson('google.protobuf.Struct', toStruct(node.metadata) as Message)
  return {
    configs: [
      {
        '@type': `${ADMIN}BootstrapConfigDump`,
        bootstrap: { node: { id: node.id, cluster: node.cluster, metadata, user_agent_name: 'sampan' } },
      },
      {
        '@type': `${ADMIN}ClustersConfigDump`,
        version_info: versionOf(clusters),
        dynamic_active_clusters: [...clusters].map(([name, k]) => ({
          version_info: k.version,
          cluster: shown(TYPE.cluster, k),
          last_updated: stamp(k),
          ...refused(TYPE.cluster, name),
        })),
      },
      ...(options.endpoints
        ? [
            {
              '@type': `${ADMIN}EndpointsConfigDump`,
              dynamic_endpoint_configs: [...endpoints.values()].map((k) => ({
                endpoint_config: shown(TYPE.endpoint, k),
              })),
            },
          ]
        : []),
      {
        '@type': `${ADMIN}ListenersConfigDump`,
        version_info: versionOf(listeners),
        dynamic_listeners: [...listeners].map(([name, k]) => ({
          name,
          active_state: { version_info: k.version, listener: shown(TYPE.listener, k), last_updated: stamp(k) },
          ...refused(TYPE.listener, name),
        })),
      },
      {
        '@type': `${ADMIN}RoutesConfigDump`,
        dynamic_route_configs: [...routes].map(([name, k]) => ({
          version_info: k.version,
          route_config: shown(TYPE.route, k),
          last_updated: stamp(k),
          ...refused(TYPE.route, name),
        })),
      },
      {
        '@type': `${ADMIN}SecretsConfigDump`,
        dynamic_active_secrets: [...secrets].map(([name, k]) => ({
          name,
          version_info: k.version,
          last_updated: stamp(k),
          secret: secretShown(k),
        })),
      },
      // Extensions are never told apart from what they extend.
      { '@type': `${ADMIN}EcdsConfigDump` },
    ],
  }
}

/** A secret without its key. */
function secretShown(known: Known): unknown {
  const message = messageOf(TYPE.secret, known)
  const { tls_certificate: own } = message
  const safe = own
    ? { ...message, tls_certificate: { ...own, private_key: { inline_bytes: Buffer.from('[redacted]') } } }
    : message
  return { '@type': TYPE.secret, ...(toJson(TYPE.secret.slice(PREFIX.length), safe) as object) }
}

/** The items of one section, as `?resource=dynamic_listeners` asks for; undefined when there is no such section. */
export function dumpOf(
  dump: { configs: Section[] },
  resource: string,
  nameRegex?: string,
): { configs: unknown[] } | undefined {
  const section = dump.configs.find((c) => resource in c)
  if (!section) return undefined
  const wanted = nameRegex ? new RegExp(nameRegex) : undefined
  const items = (section[resource] as Record<string, unknown>[]).filter(
    (item) => !wanted || wanted.test(JSON.stringify(item)),
  )
  const type = `${section['@type']}.Dynamic${/cluster/.test(resource) ? 'Cluster' : /listener/.test(resource) ? 'Listener' : /route/.test(resource) ? 'RouteConfig' : /endpoint/.test(resource) ? 'EndpointConfig' : 'Secret'}`
  return { configs: items.map((item) => ({ '@type': type, ...item })) }
}
