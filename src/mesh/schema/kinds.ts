// The mesh's kinds as CustomResourceDefinitions: Istio's, the Gateway API's and SMI's, in all versions that are served.

import type { Json, KubeInput } from '#api'
import { gatewaySpecSchema } from './gateway-api.ts'
import { specSchema } from './shape.ts'
import { smiSchema } from './smi.ts'

interface MeshKind {
  group: string
  kind: string
  plural: string
  shortNames?: string[]
  /** The first is the one that is stored. */
  versions: readonly string[]
  columns?: readonly Json[]
  cluster?: boolean
  categories?: readonly string[]
}

const NETWORKING = ['v1', 'v1beta1', 'v1alpha3'] as const
const AGE: Json = {
  name: 'Age',
  type: 'date',
  jsonPath: '.metadata.creationTimestamp',
  description: 'CreationTimestamp is a timestamp representing the server time when this object was created.',
}
const column = (name: string, jsonPath: string, type = 'string'): Json => ({ name, type, jsonPath })

const KINDS: readonly MeshKind[] = [
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

const GATEWAY_API = 'gateway.networking.k8s.io'
const HOSTNAMES = column('Hostnames', '.spec.hostnames')
const gatewayKind = (
  kind: string,
  plural: string,
  versions: readonly string[],
  more: Partial<MeshKind> = {},
): MeshKind => ({
  group: GATEWAY_API,
  kind,
  plural,
  versions,
  columns: [AGE],
  categories: ['gateway-api'],
  ...more,
})

const GATEWAY_KINDS: readonly MeshKind[] = [
  gatewayKind('GatewayClass', 'gatewayclasses', ['v1', 'v1beta1'], {
    shortNames: ['gc'],
    cluster: true,
    columns: [
      column('Controller', '.spec.controllerName'),
      column('Accepted', '.status.conditions[?(@.type=="Accepted")].status'),
      AGE,
    ],
  }),
  gatewayKind('Gateway', 'gateways', ['v1', 'v1beta1'], {
    shortNames: ['gtw'],
    columns: [
      column('Class', '.spec.gatewayClassName'),
      column('Address', '.status.addresses[*].value'),
      column('Programmed', '.status.conditions[?(@.type=="Programmed")].status'),
      AGE,
    ],
  }),
  gatewayKind('ListenerSet', 'listenersets', ['v1'], {
    shortNames: ['lset'],
    columns: [
      column('Accepted', '.status.conditions[?(@.type=="Accepted")].status'),
      column('Programmed', '.status.conditions[?(@.type=="Programmed")].status'),
      AGE,
    ],
  }),
  gatewayKind('HTTPRoute', 'httproutes', ['v1', 'v1beta1'], { columns: [HOSTNAMES, AGE] }),
  gatewayKind('GRPCRoute', 'grpcroutes', ['v1', 'v1alpha2'], { columns: [HOSTNAMES, AGE] }),
  gatewayKind('TLSRoute', 'tlsroutes', ['v1', 'v1alpha3', 'v1alpha2']),
  gatewayKind('TCPRoute', 'tcproutes', ['v1', 'v1alpha2']),
  gatewayKind('UDPRoute', 'udproutes', ['v1', 'v1alpha2']),
  gatewayKind('ReferenceGrant', 'referencegrants', ['v1', 'v1beta1'], { shortNames: ['refgrant'] }),
  gatewayKind('BackendTLSPolicy', 'backendtlspolicies', ['v1', 'v1alpha3'], { shortNames: ['btlspolicy'] }),
]

const SMI_KINDS: readonly MeshKind[] = [
  {
    group: 'split.smi-spec.io',
    kind: 'TrafficSplit',
    plural: 'trafficsplits',
    shortNames: ['ts'],
    versions: ['v1alpha4', 'v1alpha3', 'v1alpha2', 'v1alpha1'],
    columns: [column('Service', '.spec.service'), AGE],
  },
  {
    group: 'specs.smi-spec.io',
    kind: 'HTTPRouteGroup',
    plural: 'httproutegroups',
    shortNames: ['htr'],
    versions: ['v1alpha4', 'v1alpha3'],
    columns: [AGE],
  },
]

/** Kinds that are nothing without a spec. */
const NEEDS_SPEC = new Set(['ServiceEntry', 'WorkloadEntry', 'WorkloadGroup', 'WasmPlugin', 'TrafficExtension'])

const OPEN: Json = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true }

function schemaOf({ group, kind }: MeshKind): Json {
  const spec =
    group === GATEWAY_API
      ? gatewaySpecSchema(kind)
      : group.endsWith('.smi-spec.io')
        ? smiSchema(kind)
        : specSchema(kind)
  return { type: 'object', properties: { spec, status: OPEN }, ...(NEEDS_SPEC.has(kind) ? { required: ['spec'] } : {}) }
}

function categoriesOf({ group, categories }: MeshKind): readonly string[] {
  if (categories) return categories
  const [first = ''] = group.split('.')
  return group.endsWith('.istio.io') ? ['istio-io', `${first}-istio-io`] : []
}

/** The definitions, ready to be created. */
export function meshDefinitions(): KubeInput[] {
  return [...KINDS, ...GATEWAY_KINDS, ...SMI_KINDS].map((of) => {
    const { group, kind, plural, shortNames, versions, columns, cluster } = of
    const gatewayApi = group === GATEWAY_API
    return {
      metadata: {
        name: `${plural}.${group}`,
        labels: { app: 'istio-pilot', chart: 'istio' },
        ...(gatewayApi
          ? {
              annotations: {
                // Without it the group, which is Kubernetes' own, would need an approval.
                'api-approved.kubernetes.io': 'https://github.com/kubernetes-sigs/gateway-api/pull/2466',
                'gateway.networking.k8s.io/bundle-version': 'v1.5.1',
                'gateway.networking.k8s.io/channel': 'experimental',
              },
            }
          : {}),
      },
      spec: {
        group,
        scope: cluster ? 'Cluster' : 'Namespaced',
        names: {
          kind,
          listKind: `${kind}List`,
          plural,
          singular: kind.toLowerCase(),
          categories: [...categoriesOf(of)],
          ...(shortNames ? { shortNames } : {}),
        },
        versions: versions.map((name, i) => ({
          name,
          served: true,
          storage: i === 0,
          subresources: { status: {} },
          ...(columns ? { additionalPrinterColumns: columns } : {}),
          schema: { openAPIV3Schema: schemaOf(of) },
        })),
      },
    }
  })
}
