// The objects a cluster has from its first moment.

import { isAlreadyExists, type KubeInput, type Resource, resources, sameJson } from '#api'
import { type Log, messageOf } from '#base'
import type { Client, Informers } from '#client'
import { DEFAULT_MESH, gatewayPod, INGRESS_CONTROLLER, webhookConfiguration } from '#mesh'
import { PART_ANNOTATION, partSpec } from '#node'
import { PROXY_IMAGE } from './bundled-images.ts'
import type { Cluster } from './cluster.ts'
import { defaultRoles } from './default-roles.ts'
import { VERSION } from './version.ts'

interface Wanted {
  resource: Resource
  object: KubeInput
}

const namespace = (name: string): Wanted => ({ resource: resources.namespaces, object: { metadata: { name } } })

const NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease', 'istio-system']

/** MeshConfig as it is from the start; people edit it. */
const MESH_CONFIG = `defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
enablePrometheusMerge: true
outboundTrafficPolicy:
  mode: ALLOW_ANY
rootNamespace: istio-system
trustDomain: cluster.local
`

/** The mesh's ingress gateway as Istio installs it: an account, a Deployment and a load balancer. */
function ingressGateway(): Wanted[] {
  const namespaceName = 'istio-system'
  const account = 'istio-ingressgateway-service-account'
  const labels = { app: 'istio-ingressgateway', istio: 'ingressgateway' }
  const meta = (name: string, more: object = {}) => ({ name, namespace: namespaceName, labels, ...more })
  const role = 'istio-ingressgateway-sds'
  return [
    { resource: resources.serviceAccounts, object: { metadata: meta(account) } },
    {
      resource: resources.roles,
      object: {
        metadata: meta(role),
        rules: [{ apiGroups: [''], resources: ['secrets'], verbs: ['get', 'watch', 'list'] }],
      },
    },
    {
      resource: resources.roleBindings,
      object: {
        metadata: meta(role),
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: role },
        subjects: [{ kind: 'ServiceAccount', name: account, namespace: namespaceName }],
      },
    },
    {
      resource: resources.services,
      object: {
        metadata: meta('istio-ingressgateway'),
        spec: {
          type: 'LoadBalancer',
          selector: labels,
          ports: [
            { name: 'status-port', port: 15021, targetPort: 15021, protocol: 'TCP' },
            { name: 'http2', port: 80, targetPort: 8080, protocol: 'TCP' },
            { name: 'https', port: 443, targetPort: 8443, protocol: 'TCP' },
            { name: 'tcp', port: 31400, targetPort: 31400, protocol: 'TCP' },
            { name: 'tls', port: 15443, targetPort: 15443, protocol: 'TCP' },
          ],
        },
      },
    },
    {
      resource: resources.deployments,
      object: {
        metadata: meta('istio-ingressgateway'),
        spec: {
          replicas: 1,
          selector: { matchLabels: labels },
          strategy: { rollingUpdate: { maxSurge: '100%', maxUnavailable: '25%' } },
          template: {
            metadata: {
              labels: {
                ...labels,
                ...REVISION,
                'service.istio.io/canonical-name': 'istio-ingressgateway',
                'service.istio.io/canonical-revision': 'latest',
              },
            },
            spec: gatewayPod({
              account,
              workload: 'istio-ingressgateway',
              image: PROXY_IMAGE,
              trustDomain: DEFAULT_MESH.trustDomain,
              ports: [15021, 8080, 8443].map((containerPort) => ({ containerPort, protocol: 'TCP' })),
            }),
          },
        },
      },
    },
    {
      resource: resources.configMaps,
      object: {
        metadata: { name: 'istio', namespace: namespaceName, labels: { 'istio.io/rev': 'default' } },
        data: { mesh: MESH_CONFIG, meshNetworks: 'networks: {}' },
      },
    },
    { resource: resources.mutatingWebhookConfigurations, object: webhookConfiguration() },
    {
      resource: resources.ingressClasses,
      object: {
        metadata: { name: 'istio', annotations: { 'ingressclass.kubernetes.io/is-default-class': 'true' } },
        spec: { controller: INGRESS_CONTROLLER },
      },
    },
  ]
}

/** By this label istioctl knows a control plane, and what is its own (istio.io/api/label). */
const REVISION = { 'istio.io/rev': 'default' } as const

/** A part of this process that people look for as a Deployment. */
function partDeployment(
  name: string,
  namespaceName: string,
  labels: Record<string, string>,
  more: Record<string, string> = {},
): Wanted {
  return {
    resource: resources.deployments,
    object: {
      metadata: { name, namespace: namespaceName, labels: { ...labels, ...more } },
      spec: {
        replicas: 1,
        selector: { matchLabels: labels },
        strategy: { type: 'Recreate' },
        template: {
          metadata: {
            labels: { ...labels, ...more, 'sidecar.istio.io/inject': 'false' },
            annotations: { [PART_ANNOTATION]: name },
          },
          spec: partSpec(name, VERSION),
        },
      },
    },
  }
}

const priorityClass = (name: string, value: number, description: string): Wanted => ({
  resource: resources.priorityClasses,
  object: { metadata: { name }, value, description },
})

function systemObjects(): Wanted[] {
  return [
    priorityClass('system-cluster-critical', 2000000000, 'For parts the cluster needs, which may run on any node.'),
    priorityClass('system-node-critical', 2000001000, 'For parts a node needs.'),
    partDeployment('coredns', 'kube-system', { 'k8s-app': 'kube-dns' }),
    partDeployment('istiod', 'istio-system', { app: 'istiod', istio: 'pilot' }, REVISION),
  ]
}

interface SystemService {
  namespace: string
  name: string
  labels: Record<string, string>
  clusterIp?: string
  ports: { name: string; port: number; targetPort: number; protocol: string }[]
}

/** Services that are answered by this process. */
function systemServices(cluster: Cluster): SystemService[] {
  const port = (name: string, number: number, protocol = 'TCP', targetPort = number) => ({
    name,
    port: number,
    targetPort,
    protocol,
  })
  return [
    {
      namespace: 'default',
      name: 'kubernetes',
      labels: { component: 'apiserver', provider: 'kubernetes' },
      clusterIp: cluster.kubernetesIp,
      ports: [port('https', 443, 'TCP', cluster.apiPort)],
    },
    {
      namespace: 'kube-system',
      name: 'kube-dns',
      labels: { 'k8s-app': 'kube-dns', 'kubernetes.io/cluster-service': 'true', 'kubernetes.io/name': 'CoreDNS' },
      clusterIp: cluster.dnsIp,
      ports: [port('dns', 53, 'UDP'), port('dns-tcp', 53)],
    },
    {
      namespace: 'istio-system',
      name: 'istiod',
      labels: { app: 'istiod', istio: 'pilot', ...REVISION },
      ports: [port('grpc-xds', 15010), port('https-dns', 15012), port('http-monitoring', 15014)],
    },
  ]
}

async function ensureService(client: Client, cluster: Cluster, service: SystemService): Promise<void> {
  const { namespace: namespaceName, name, labels, clusterIp, ports } = service
  await ensure(client, resources.services, {
    metadata: { name, namespace: namespaceName, labels },
    spec: { type: 'ClusterIP', ...(clusterIp ? { clusterIP: clusterIp } : {}), ports },
  })
  const targets = ports.map((p) => ({ name: p.name, port: p.targetPort, protocol: p.protocol }))
  await ensureEndpoints(client, namespaceName, name, cluster.gatewayIp, targets)
}

/** Creates what is missing; what people changed since stays as it is. */
export async function createDefaults(client: Client, cluster: Cluster): Promise<void> {
  await Promise.all(NAMESPACES.map(namespace).map(({ resource, object }) => ensure(client, resource, object)))
  await Promise.all([
    ...[...defaultRoles(), ...systemObjects(), ...ingressGateway()].map(({ resource, object }) =>
      ensure(client, resource, object),
    ),
    ...systemServices(cluster).map((service) => ensureService(client, cluster, service)),
  ])
}

/** Makes the Services of this process again when somebody deletes them. */
export function keepSystemServices(informers: Informers, cluster: Cluster, log: Log): void {
  const services = systemServices(cluster)
  for (const resource of [resources.services, resources.endpointSlices, resources.endpoints])
    informers.for(resource).on(({ type, object }) => {
      const service = services.find((s) => s.namespace === object.metadata.namespace && s.name === object.metadata.name)
      if (type !== 'deleted' || !service) return
      ensureService(informers.client, cluster, service).catch((error) =>
        log.warn('service not made again', { service: service.name, error: messageOf(error) }),
      )
    })
}

/** Endpoints of a Service whose backend is this process. */
async function ensureEndpoints(
  client: Client,
  namespaceName: string,
  name: string,
  ip: string,
  ports: { name: string; port: number; protocol: string }[],
): Promise<void> {
  const labels = { 'kubernetes.io/service-name': name }
  await ensure(client, resources.endpointSlices, {
    metadata: { name, namespace: namespaceName, labels },
    addressType: 'IPv4',
    endpoints: [{ addresses: [ip], conditions: { ready: true, serving: true, terminating: false } }],
    ports,
  })
  const subsets = [
    { addresses: [{ ip }], ports: ports.map(({ name: n, port, protocol }) => ({ name: n, port, protocol })) },
  ]
  await ensure(client, resources.endpoints, {
    metadata: { name, namespace: namespaceName, labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
    subsets,
  })
}

async function ensure(client: Client, resource: Resource, object: KubeInput): Promise<void> {
  const exists = await client.get(resource, object.metadata.namespace ?? '', object.metadata.name!).then(
    () => true,
    () => false,
  )
  try {
    if (!exists) await client.create(resource, object)
  } catch (error) {
    if (!isAlreadyExists(error)) throw error
  }
  if (exists) {
    // Addresses of this machine's own parts may have moved.
    if (resource !== resources.endpointSlices && resource !== resources.endpoints) return
    const current = await client.get(resource, object.metadata.namespace ?? '', object.metadata.name!)
    if (
      !sameJson(current.endpoints ?? current.subsets, object.endpoints ?? object.subsets) ||
      !sameJson(current.ports, object.ports)
    )
      await client.update(resource, { ...current, ...object, metadata: current.metadata })
  }
}
