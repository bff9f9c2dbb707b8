// What every pod that runs the data plane has, as a sidecar or as a gateway. Pure.

import type { Json } from '#api'

/** The account of the proxy within a pod: what it sends is not redirected to it again. */
export const PROXY_UID = 1337

export const PROXY_RESOURCES: Json = { limits: { cpu: '2', memory: '1Gi' }, requests: { cpu: '10m', memory: '40Mi' } }

export const PROXY_SECURITY: Json = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  privileged: false,
  readOnlyRootFilesystem: true,
  runAsGroup: PROXY_UID,
  runAsNonRoot: true,
  runAsUser: PROXY_UID,
}

export const PROXY_MOUNTS: readonly Json[] = [
  { mountPath: '/var/run/secrets/istio', name: 'istiod-ca-cert' },
  { mountPath: '/var/run/secrets/tokens', name: 'istio-token' },
  { mountPath: '/etc/istio/pod', name: 'istio-podinfo' },
]

export const PROXY_VOLUMES: readonly Json[] = [
  {
    name: 'istio-podinfo',
    downwardAPI: {
      items: [
        { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
        { path: 'annotations', fieldRef: { fieldPath: 'metadata.annotations' } },
      ],
    },
  },
  {
    name: 'istio-token',
    projected: {
      sources: [{ serviceAccountToken: { path: 'istio-token', expirationSeconds: 43200, audience: 'istio-ca' } }],
    },
  },
  { name: 'istiod-ca-cert', configMap: { name: 'istio-ca-root-cert' } },
]

const field = (name: string, fieldPath: string): Json => ({
  name,
  valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } },
})

export interface ProxyIdentityOptions {
  readonly workload: string
  readonly trustDomain: string
  /** Where the control plane is, "host:port". */
  readonly discoveryAddress?: string | undefined
}

/** The variables that say who a proxy is and whom it asks. */
export function proxyIdentity({ workload, trustDomain, discoveryAddress }: ProxyIdentityOptions): Json[] {
  return [
    { name: 'CA_ADDR', value: discoveryAddress ?? 'istiod.istio-system.svc:15012' },
    field('POD_NAME', 'metadata.name'),
    field('POD_NAMESPACE', 'metadata.namespace'),
    field('INSTANCE_IP', 'status.podIP'),
    field('SERVICE_ACCOUNT', 'spec.serviceAccountName'),
    field('HOST_IP', 'status.hostIP'),
    { name: 'ISTIO_META_CLUSTER_ID', value: 'Kubernetes' },
    { name: 'ISTIO_META_WORKLOAD_NAME', value: workload },
    { name: 'ISTIO_META_MESH_ID', value: trustDomain },
    { name: 'TRUST_DOMAIN', value: trustDomain },
  ]
}

/** The arguments of the proxy in a role; `concurrency` workers, 0 for one on each core. */
export const proxyArgs = (role: 'sidecar' | 'router', concurrency?: unknown): string[] => [
  'proxy',
  role,
  '--domain',
  '$(POD_NAMESPACE).svc.cluster.local',
  ...(typeof concurrency === 'number' ? ['--concurrency', String(concurrency)] : []),
]

export interface GatewayPodOptions extends ProxyIdentityOptions {
  readonly account: string
  /** Workers, as ProxyConfig says. */
  readonly concurrency?: unknown
  readonly image: string
  readonly ports: readonly Json[]
}

/** The spec of a pod that runs the data plane as a gateway. */
export function gatewayPod(options: GatewayPodOptions): Json {
  const { account, image, ports, concurrency } = options
  return {
    serviceAccountName: account,
    containers: [
      {
        name: 'istio-proxy',
        image,
        imagePullPolicy: 'IfNotPresent',
        args: proxyArgs('router', concurrency),
        ports: [...ports, { containerPort: 15090, name: 'http-envoy-prom', protocol: 'TCP' }],
        env: proxyIdentity(options),
        readinessProbe: { httpGet: { path: '/healthz/ready', port: 15021 }, periodSeconds: 2, failureThreshold: 30 },
        resources: PROXY_RESOURCES,
        securityContext: PROXY_SECURITY,
        volumeMounts: PROXY_MOUNTS,
      },
    ],
    volumes: PROXY_VOLUMES,
  }
}
