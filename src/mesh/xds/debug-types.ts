// What istioctl asks for on ADS instead of resources: the types istio.io/debug, and those below it.

import { packAny } from '#api/xds'
import { type Message, type MessageType, message, repeated } from '#wire'
import { type DebugOptions, debugAnswer } from './debug.ts'
import { KINDS, type Kind } from './resource-set.ts'
import { clientConfigs, ISTIO_VERSION } from './status.ts'

const DEBUG = 'istio.io/debug'

/** Whether a type is one of those. */
export const isDebugType = (url: string): boolean => url === DEBUG || url.startsWith(`${DEBUG}/`)

const ANY = message('google.protobuf.Any', { type_url: [1, 'string'], value: [2, 'bytes'] })
const dumpOf = (name: string, field: string, entry: MessageType) =>
  message(`envoy.admin.v3.${name}`, { [field]: [3, repeated(entry)] })
const STATE = message('envoy.admin.v3.ListenersConfigDump.DynamicListenerState', {
  version_info: [1, 'string'],
  listener: [2, ANY],
})

/** How Envoy dumps resources of a type (envoy.admin.v3.ConfigDump). */
const DUMPS = {
  clusters: dumpOf(
    'ClustersConfigDump',
    'dynamic_active_clusters',
    message('envoy.admin.v3.ClustersConfigDump.DynamicCluster', { version_info: [1, 'string'], cluster: [2, ANY] }),
  ),
  listeners: dumpOf(
    'ListenersConfigDump',
    'dynamic_listeners',
    message('envoy.admin.v3.ListenersConfigDump.DynamicListener', { name: [1, 'string'], active_state: [2, STATE] }),
  ),
  routes: dumpOf(
    'RoutesConfigDump',
    'dynamic_route_configs',
    message('envoy.admin.v3.RoutesConfigDump.DynamicRouteConfig', {
      version_info: [1, 'string'],
      route_config: [2, ANY],
    }),
  ),
} as const

/** Everything that a proxy is told, but for secrets. */
function configDump({ ads, layers }: DebugOptions, id: string): Message[] {
  const proxy = [...ads.connections].find((c) => c.proxy?.id === id)?.proxy
  if (!proxy) return []
  const all = layers(proxy)
  const told = (kind: Kind) => {
    const url = KINDS.find((k) => k.kind === kind)!.url
    return all.flatMap((l) =>
      [...l[kind].values()].map(({ name, version, body }) => ({ name, version, any: { type_url: url, value: body } })),
    )
  }
  return [
    packAny(DUMPS.clusters, {
      dynamic_active_clusters: told('clusters').map(({ version, any }) => ({ version_info: version, cluster: any })),
    }),
    packAny(DUMPS.listeners, {
      dynamic_listeners: told('listeners').map(({ name, version, any }) => ({
        name,
        active_state: { version_info: version, listener: any },
      })),
    }),
    packAny(DUMPS.routes, {
      dynamic_route_configs: told('routes').map(({ version, any }) => ({ version_info: version, route_config: any })),
    }),
  ]
}

/** The answer to such a request. */
export function debugResponse({ type_url: url, resource_names: names = [] }: Message, options: DebugOptions): Message {
  const [name = ''] = names as string[]
  const resources =
    url === DEBUG
      ? [{ type_url: DEBUG, value: Buffer.from(debugAnswer(options, `/debug/${name}`).body) }]
      : url === `${DEBUG}/syncz`
        ? clientConfigs(options.ads.connections)
        : url === `${DEBUG}/config_dump`
          ? configDump(options, name)
          : []
  return {
    type_url: url,
    version_info: '1',
    control_plane: {
      identifier: JSON.stringify({ Component: 'istiod', ID: 'istiod', Info: { version: ISTIO_VERSION } }),
    },
    resources,
  }
}
