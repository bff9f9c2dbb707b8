// What a Gateway gets of its own: an account, a Deployment and a Service, named "<gateway>-istio". Pure
// (istio.io, "Kubernetes Gateway API", automated deployment).

import type { Json, KubeInput, KubeObject, Resource } from '#api'
import { resources } from '#api'
import { proxyConfigOf } from '../inject/proxy-config.ts'
import { GATEWAY_NAME } from '../model/gateway-labels.ts'
import type { MeshConfig } from '../model/mesh-config.ts'
import { gatewayPod } from '../proxy-pod.ts'
import { isServed } from './listeners.ts'
import { type Parameters, type Part, patched } from './parameters.ts'
import type { ListenerState } from './view.ts'

const MANAGED = 'gateway.istio.io/managed'
const SERVICE_TYPE = 'networking.istio.io/service-type'

export interface Wanted {
  readonly resource: Resource
  readonly object: KubeInput
}

export const deploymentName = (gateway: KubeObject) => `${gateway.metadata.name}-${gateway.spec?.gatewayClassName}`

const PORTS: readonly Json[] = [
  { containerPort: 15020, name: 'metrics', protocol: 'TCP' },
  { containerPort: 15021, name: 'status-port', protocol: 'TCP' },
]

export interface GatewayPodSource {
  /** The image of the pods. */
  readonly proxyImage: string
  readonly mesh: MeshConfig
  readonly proxyConfigs?: readonly KubeObject[]
}

/** The objects of a Gateway. */
export function deploymentOf(
  gateway: KubeObject,
  listeners: readonly ListenerState[],
  { proxyImage, mesh, proxyConfigs = [] }: GatewayPodSource,
  parameters: Parameters = { patches: {} },
): Wanted[] {
  const name = deploymentName(gateway)
  const { namespace = '' } = gateway.metadata
  const infrastructure: Json = gateway.spec?.infrastructure ?? {}
  const selector = { [GATEWAY_NAME]: gateway.metadata.name }
  const labels = {
    ...infrastructure.labels,
    ...selector,
    'gateway.networking.k8s.io/gateway-class-name': gateway.spec?.gatewayClassName,
    [MANAGED]: 'istio.io-gateway-controller',
  }
  const { annotations = {} } = infrastructure
  const { trustDomain } = mesh
  const { concurrency } = proxyConfigOf({ namespace, labels, annotations }, mesh, proxyConfigs)
  const metadata = {
    name,
    namespace,
    labels,
    ...(infrastructure.annotations ? { annotations: infrastructure.annotations } : {}),
    ownerReferences: [
      {
        apiVersion: gateway.apiVersion,
        kind: 'Gateway',
        name: gateway.metadata.name,
        uid: gateway.metadata.uid,
        controller: true,
        blockOwnerDeletion: true,
      },
    ],
  }
  const parts: readonly (Wanted & { readonly part: Part })[] = [
    { part: 'serviceAccount', resource: resources.serviceAccounts, object: { metadata } },
    {
      part: 'service',
      resource: resources.services,
      object: { metadata, spec: serviceSpec(gateway, listeners, selector) },
    },
    {
      part: 'deployment',
      resource: resources.deployments,
      object: {
        metadata,
        spec: {
          selector: { matchLabels: selector },
          template: {
            metadata: {
              labels: {
                ...labels,
                'service.istio.io/canonical-name': name,
                'service.istio.io/canonical-revision': 'latest',
                'sidecar.istio.io/inject': 'false',
              },
              annotations: {
                ...infrastructure.annotations,
                'prometheus.io/path': '/stats/prometheus',
                'prometheus.io/port': '15020',
                'prometheus.io/scrape': 'true',
              },
            },
            spec: {
              ...gatewayPod({
                account: name,
                workload: name,
                image: proxyImage,
                trustDomain,
                concurrency,
                ports: PORTS,
              }),
              // It may listen on any port without being root.
              securityContext: { sysctls: [{ name: 'net.ipv4.ip_unprivileged_port_start', value: '0' }] },
            },
          },
        },
      },
    },
    // These two only when there is something to say of them.
    {
      part: 'horizontalPodAutoscaler',
      resource: AUTOSCALERS,
      object: { metadata, spec: { scaleTargetRef: { apiVersion: 'apps/v1', kind: 'Deployment', name } } },
    },
    {
      part: 'podDisruptionBudget',
      resource: resources.podDisruptionBudgets,
      object: { metadata, spec: { selector: { matchLabels: selector } } },
    },
  ]
  return parts
    .filter(({ part }) => !OPTIONAL.includes(part) || parameters.patches[part])
    .map(({ part, resource, object }) => ({ resource, object: patched(part, object, parameters) }))
}

const OPTIONAL: readonly Part[] = ['horizontalPodAutoscaler', 'podDisruptionBudget']
const AUTOSCALERS: Resource = {
  group: 'autoscaling',
  version: 'v2',
  plural: 'horizontalpodautoscalers',
  kind: 'HorizontalPodAutoscaler',
  namespaced: true,
}

function serviceSpec(gateway: KubeObject, listeners: readonly ListenerState[], selector: Json): Json {
  const { annotations = {} } = gateway.metadata
  const type = gateway.spec?.infrastructure?.annotations?.[SERVICE_TYPE] ?? annotations[SERVICE_TYPE] ?? 'LoadBalancer'
  const ports = new Map<number, Json>([
    [15021, { name: 'status-port', port: 15021, protocol: 'TCP', appProtocol: 'tcp' }],
  ])
  const names = new Set(['status-port'])
  for (const { listener } of listeners.filter(isServed))
    if (!ports.has(listener.port))
      ports.set(listener.port, {
        name: portName(listener, names),
        port: listener.port,
        protocol: 'TCP',
        appProtocol: String(listener.protocol).toLowerCase(),
      })
  const addresses: Json[] = (gateway.spec?.addresses ?? []).filter(
    (a: Json) => (a.type ?? 'IPAddress') === 'IPAddress' && a.value,
  )
  return {
    type,
    selector,
    ports: [...ports.values()],
    ...(addresses.length > 0 ? { loadBalancerIP: addresses[0]!.value } : {}),
  }
}

/** A listener's name as a port may have it (RFC 1123, a label), and no other port of the Service has. */
function portName({ name, port }: Json, taken: Set<string>): string {
  const label = String(name).replaceAll('.', '-')
  const fits = label.length <= 63 && !taken.has(label)
  const result = fits ? label : `${label.slice(0, 56).replace(/-+$/, '')}-${port}`
  taken.add(result)
  return result
}
