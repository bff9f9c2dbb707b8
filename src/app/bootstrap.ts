// The objects a cluster has from its first moment.

import { isAlreadyExists, type KubeInput, type Resource, resources, sameJson } from '#api'
import type { Client } from '#client'
import type { Cluster } from './cluster.ts'

interface Wanted {
  resource: Resource
  object: KubeInput
}

const namespace = (name: string): Wanted => ({ resource: resources.namespaces, object: { metadata: { name } } })

const clusterRole = (name: string, rules: object[]): Wanted => ({
  resource: resources.clusterRoles,
  object: {
    metadata: {
      name,
      labels: { 'kubernetes.io/bootstrapping': 'rbac-defaults' },
      annotations: { 'rbac.authorization.kubernetes.io/autoupdate': 'true' },
    },
    rules,
  },
})

const clusterBinding = (name: string, groups: string[]): Wanted => ({
  resource: resources.clusterRoleBindings,
  object: {
    metadata: {
      name,
      labels: { 'kubernetes.io/bootstrapping': 'rbac-defaults' },
      annotations: { 'rbac.authorization.kubernetes.io/autoupdate': 'true' },
    },
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name },
    subjects: groups.map((g) => ({ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: g })),
  },
})

const DISCOVERY = [
  '/api',
  '/api/*',
  '/apis',
  '/apis/*',
  '/healthz',
  '/livez',
  '/openapi',
  '/openapi/*',
  '/readyz',
  '/version',
  '/version/',
]

function wanted(): Wanted[] {
  return [
    ...['default', 'kube-system', 'kube-public', 'kube-node-lease', 'istio-system'].map(namespace),
    clusterRole('cluster-admin', [
      { apiGroups: ['*'], resources: ['*'], verbs: ['*'] },
      { nonResourceURLs: ['*'], verbs: ['*'] },
    ]),
    clusterRole('system:discovery', [{ nonResourceURLs: DISCOVERY, verbs: ['get'] }]),
    clusterRole('system:basic-user', [
      {
        apiGroups: ['authorization.k8s.io'],
        resources: ['selfsubjectaccessreviews', 'selfsubjectrulesreviews'],
        verbs: ['create'],
      },
      { apiGroups: ['authentication.k8s.io'], resources: ['selfsubjectreviews'], verbs: ['create'] },
    ]),
    clusterBinding('cluster-admin', ['system:masters']),
    clusterBinding('system:discovery', ['system:authenticated']),
    clusterBinding('system:basic-user', ['system:authenticated']),
  ]
}

/** Creates what is missing; what people changed since stays as it is. */
export async function createDefaults(client: Client, cluster: Cluster): Promise<void> {
  for (const { resource, object } of wanted()) await ensure(client, resource, object)
  await ensure(client, resources.services, {
    metadata: { name: 'kubernetes', namespace: 'default', labels: { component: 'apiserver', provider: 'kubernetes' } },
    spec: {
      type: 'ClusterIP',
      clusterIP: cluster.kubernetesIp,
      ports: [{ name: 'https', port: 443, targetPort: cluster.apiPort, protocol: 'TCP' }],
    },
  })
  await ensureEndpoints(client, 'default', 'kubernetes', cluster.gatewayIp, [
    { name: 'https', port: cluster.apiPort, protocol: 'TCP' },
  ])
  await ensure(client, resources.services, {
    metadata: {
      name: 'kube-dns',
      namespace: 'kube-system',
      labels: { 'k8s-app': 'kube-dns', 'kubernetes.io/cluster-service': 'true', 'kubernetes.io/name': 'CoreDNS' },
    },
    spec: {
      type: 'ClusterIP',
      clusterIP: cluster.dnsIp,
      ports: [
        { name: 'dns', port: 53, targetPort: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, targetPort: 53, protocol: 'TCP' },
      ],
    },
  })
  await ensureEndpoints(client, 'kube-system', 'kube-dns', cluster.gatewayIp, [
    { name: 'dns', port: 53, protocol: 'UDP' },
    { name: 'dns-tcp', port: 53, protocol: 'TCP' },
  ])
  await ensure(client, resources.services, {
    metadata: { name: 'istiod', namespace: 'istio-system', labels: { app: 'istiod', istio: 'pilot' } },
    spec: {
      type: 'ClusterIP',
      ports: [
        { name: 'https-dns', port: 15012, targetPort: 15012, protocol: 'TCP' },
        { name: 'http-monitoring', port: 15014, targetPort: 15014, protocol: 'TCP' },
      ],
    },
  })
  await ensureEndpoints(client, 'istio-system', 'istiod', cluster.gatewayIp, [
    { name: 'https-dns', port: 15012, protocol: 'TCP' },
    { name: 'http-monitoring', port: 15014, protocol: 'TCP' },
  ])
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
