// MeshConfig: what is set for the whole mesh (ConfigMap "istio", key "mesh", of the root namespace). Pure.

import { parse } from 'yaml'
import type { Json, KubeObject } from '#api'
import { messageOf } from '#base'

/** The ConfigMap it stands in, "namespace/name". */
export const MESH_CONFIG = 'istio-system/istio'

/** What of MeshConfig is acted on, with Istio's defaults (istio: pkg/config/mesh/mesh.go). */
export interface MeshConfig {
  readonly rootNamespace: string
  readonly trustDomain: string
  /** Label selectors of the namespaces that are looked at; none: all. */
  readonly discoverySelectors: readonly Json[]
  readonly connectTimeout: string
  readonly outboundTrafficPolicy: 'ALLOW_ANY' | 'REGISTRY_ONLY'
  readonly accessLogFile: string
  readonly accessLogFormat: string
  readonly accessLogEncoding: 'TEXT' | 'JSON'
  readonly protocolDetectionTimeout: string
  readonly dnsRefreshRate: string
  readonly h2UpgradePolicy: 'DO_NOT_UPGRADE' | 'UPGRADE'
  readonly tcpKeepalive: Json | undefined
  readonly localityLbSetting: Json
  readonly zoneAwareLbSetting: Json | undefined
  readonly defaultHttpRetryPolicy: Json | undefined
  readonly pathNormalization: string
  readonly inboundLocalhost: boolean
  readonly defaultServiceExportTo: readonly string[]
  readonly defaultVirtualServiceExportTo: readonly string[]
  readonly defaultDestinationRuleExportTo: readonly string[]
  readonly enablePrometheusMerge: boolean
  readonly ingressControllerMode: string
  readonly inboundClusterStatName: string
  readonly outboundClusterStatName: string
  /** ProxyConfig: what every proxy begins with. */
  readonly defaultConfig: Json
}

export const DEFAULT_MESH: MeshConfig = {
  rootNamespace: 'istio-system',
  trustDomain: 'cluster.local',
  discoverySelectors: [],
  connectTimeout: '10s',
  outboundTrafficPolicy: 'ALLOW_ANY',
  accessLogFile: '',
  accessLogFormat: '',
  accessLogEncoding: 'TEXT',
  protocolDetectionTimeout: '0s',
  dnsRefreshRate: '60s',
  h2UpgradePolicy: 'DO_NOT_UPGRADE',
  tcpKeepalive: undefined,
  localityLbSetting: { enabled: true },
  zoneAwareLbSetting: undefined,
  defaultHttpRetryPolicy: undefined,
  pathNormalization: 'BASE',
  inboundLocalhost: false,
  defaultServiceExportTo: ['*'],
  defaultVirtualServiceExportTo: ['*'],
  defaultDestinationRuleExportTo: ['*'],
  enablePrometheusMerge: true,
  ingressControllerMode: 'DEFAULT',
  inboundClusterStatName: '',
  outboundClusterStatName: '',
  defaultConfig: {},
}

/** MeshConfig out of its ConfigMap, and what is wrong with it; what cannot be read is as if it were not there. */
export function meshConfig(map: KubeObject | undefined): { config: MeshConfig; problem: string | undefined } {
  const text = map?.data?.mesh
  if (!text) return { config: DEFAULT_MESH, problem: undefined }
  try {
    const given: Json = parse(text) ?? {}
    if (typeof given !== 'object' || Array.isArray(given)) throw new TypeError('it is not a mapping')
    return { config: merge(given), problem: undefined }
  } catch (error) {
    return {
      config: DEFAULT_MESH,
      problem: `ConfigMap ${map.metadata.namespace}/${map.metadata.name}, key mesh: ${messageOf(error)}; the defaults are in force`,
    }
  }
}

/** Types of fields whose default does not show them. */
const SPECIAL: Readonly<Record<string, string>> = {
  tcpKeepalive: 'object',
  zoneAwareLbSetting: 'object',
  defaultHttpRetryPolicy: 'object',
  outboundTrafficPolicy: 'object',
  pathNormalization: 'object',
}
const typeName = (value: unknown): string => (Array.isArray(value) ? 'list' : typeof value)

function merge(given: Json): MeshConfig {
  const usual: Json = DEFAULT_MESH
  const config: Json = { ...DEFAULT_MESH }
  for (const key of Object.keys(DEFAULT_MESH))
    if (given[key] !== undefined && given[key] !== null) {
      const [is, wanted] = [typeName(given[key]), SPECIAL[key] ?? typeName(usual[key])]
      if (is !== wanted) throw new TypeError(`${key} is ${is}, not ${wanted}`)
      config[key] = given[key]
    }
  config.outboundTrafficPolicy = given.outboundTrafficPolicy?.mode ?? DEFAULT_MESH.outboundTrafficPolicy
  config.pathNormalization = given.pathNormalization?.normalization ?? DEFAULT_MESH.pathNormalization
  config.inboundLocalhost = given.inboundTrafficPolicy?.mode === 'LOCALHOST'
  if (config.pathNormalization === 'DEFAULT') config.pathNormalization = 'BASE'
  return config as MeshConfig
}
