// Istio's kinds as CustomResourceDefinitions, in all versions Istio serves.

import type { Json, KubeInput } from '#api'
import { specSchema } from './shape.ts'

interface IstioKind {
  group: string
  kind: string
  plural: string
  shortNames?: string[]
  versions: readonly string[]
  columns?: readonly Json[]
}

const NETWORKING = ['v1', 'v1beta1', 'v1alpha3'] as const
const AGE: Json = {
  name: 'Age',
  type: 'date',
  jsonPath: '.metadata.creationTimestamp',
  description: 'CreationTimestamp is a timestamp representing the server time when this object was created.',
}
const column = (name: string, jsonPath: string, type = 'string'): Json => ({ name, type, jsonPath })

const KINDS: readonly IstioKind[] = [
  {
    group: 'networking.istio.io',
    kind: 'VirtualService',
    plural: 'virtualservices',
    shortNames: ['vs'],
    versions: NETWORKING,
    columns: [column('Gateways', '.spec.gateways'), column('Hosts', '.spec.hosts'), AGE],
  },
  {
    group: 'networking.istio.io',
    kind: 'DestinationRule',
    plural: 'destinationrules',
    shortNames: ['dr'],
    versions: NETWORKING,
    columns: [column('Host', '.spec.host'), AGE],
  },
  { group: 'networking.istio.io', kind: 'Gateway', plural: 'gateways', shortNames: ['gw'], versions: NETWORKING },
  {
    group: 'networking.istio.io',
    kind: 'ServiceEntry',
    plural: 'serviceentries',
    shortNames: ['se'],
    versions: NETWORKING,
    columns: [
      column('Hosts', '.spec.hosts'),
      column('Location', '.spec.location'),
      column('Resolution', '.spec.resolution'),
      AGE,
    ],
  },
  { group: 'networking.istio.io', kind: 'Sidecar', plural: 'sidecars', versions: NETWORKING },
  {
    group: 'networking.istio.io',
    kind: 'WorkloadEntry',
    plural: 'workloadentries',
    shortNames: ['we'],
    versions: NETWORKING,
    columns: [AGE, column('Address', '.spec.address')],
  },
  {
    group: 'networking.istio.io',
    kind: 'WorkloadGroup',
    plural: 'workloadgroups',
    shortNames: ['wg'],
    versions: NETWORKING,
    columns: [AGE],
  },
  { group: 'networking.istio.io', kind: 'EnvoyFilter', plural: 'envoyfilters', versions: ['v1alpha3'] },
  { group: 'networking.istio.io', kind: 'ProxyConfig', plural: 'proxyconfigs', versions: ['v1beta1'] },
  {
    group: 'security.istio.io',
    kind: 'PeerAuthentication',
    plural: 'peerauthentications',
    shortNames: ['pa'],
    versions: ['v1', 'v1beta1'],
    columns: [column('Mode', '.spec.mtls.mode'), AGE],
  },
  {
    group: 'security.istio.io',
    kind: 'RequestAuthentication',
    plural: 'requestauthentications',
    shortNames: ['ra'],
    versions: ['v1', 'v1beta1'],
  },
  {
    group: 'security.istio.io',
    kind: 'AuthorizationPolicy',
    plural: 'authorizationpolicies',
    shortNames: ['ap'],
    versions: ['v1', 'v1beta1'],
    columns: [column('Action', '.spec.action'), AGE],
  },
  {
    group: 'telemetry.istio.io',
    kind: 'Telemetry',
    plural: 'telemetries',
    shortNames: ['telemetry'],
    versions: ['v1', 'v1alpha1'],
    columns: [AGE],
  },
  { group: 'extensions.istio.io', kind: 'WasmPlugin', plural: 'wasmplugins', versions: ['v1alpha1'], columns: [AGE] },
  {
    group: 'extensions.istio.io',
    kind: 'TrafficExtension',
    plural: 'trafficextensions',
    versions: ['v1alpha1'],
    columns: [AGE],
  },
]

const OPEN: Json = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true }

/** The definitions, ready to be created. The first version is the one that is stored. */
export function istioDefinitions(): KubeInput[] {
  return KINDS.map(({ group, kind, plural, shortNames, versions, columns }) => ({
    metadata: { name: `${plural}.${group}`, labels: { app: 'istio-pilot', chart: 'istio' } },
    spec: {
      group,
      scope: 'Namespaced',
      names: {
        kind,
        listKind: `${kind}List`,
        plural,
        singular: kind.toLowerCase(),
        categories: [
          'istio-io',
          group.split('.')[0] === 'networking' ? 'networking-istio-io' : `${group.split('.')[0]}-istio-io`,
        ],
        ...(shortNames ? { shortNames } : {}),
      },
      versions: versions.map((name, i) => ({
        name,
        served: true,
        storage: i === 0,
        subresources: { status: {} },
        ...(columns ? { additionalPrinterColumns: columns } : {}),
        schema: { openAPIV3Schema: { type: 'object', properties: { spec: specSchema(kind), status: OPEN } } },
      })),
    },
  }))
}
