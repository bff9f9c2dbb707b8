// Sidecar injection: what a pod gets in a namespace that asks for it. Pure.

import type { Json, KubeObject } from '#api'

export interface InjectionConfig {
  proxyImage: string
  /** Address ranges that are not redirected: the cluster's own parts. */
  excludeCidrs: readonly string[]
}

/** True when Istio would inject: the namespace asks and the pod does not refuse, or the pod asks itself. */
export function wantsSidecar(namespace: KubeObject | undefined, pod: Json): boolean {
  if (pod.spec?.hostNetwork || pod.metadata?.labels?.['istio.io/gateway-name']) return false
  if (['kube-system', 'kube-public', 'kube-node-lease', 'istio-system'].includes(namespace?.metadata.name ?? ''))
    return false
  const own =
    pod.metadata?.labels?.['sidecar.istio.io/inject'] ?? pod.metadata?.annotations?.['sidecar.istio.io/inject']
  const label = namespace?.metadata.labels?.['istio-injection']
  if (label === 'disabled' || own === 'false') return false
  if (own === 'true') return true
  return label === 'enabled' || namespace?.metadata.labels?.['istio.io/rev'] === 'default'
}

/** The workload a pod belongs to: its Deployment rather than the ReplicaSet in between. */
export function workloadOf(pod: Json): { name: string; kind: string } {
  const owner = pod.metadata?.ownerReferences?.find((r: Json) => r.controller)
  if (!owner) return { name: pod.metadata?.name ?? pod.metadata?.generateName?.replace(/-$/, '') ?? '', kind: 'Pod' }
  const hash = pod.metadata?.labels?.['pod-template-hash']
  if (owner.kind === 'ReplicaSet' && hash && owner.name.endsWith(`-${hash}`))
    return { name: owner.name.slice(0, -hash.length - 1), kind: 'Deployment' }
  return { name: owner.name, kind: owner.kind }
}

/** Istio's canonical service of a workload: by label, else by its name. */
export function canonicalName(labels: Record<string, string> | undefined, workload: string): string {
  return labels?.['service.istio.io/canonical-name'] ?? labels?.['app.kubernetes.io/name'] ?? labels?.app ?? workload
}

export function canonicalRevision(labels: Record<string, string> | undefined): string {
  return (
    labels?.['service.istio.io/canonical-revision'] ??
    labels?.['app.kubernetes.io/version'] ??
    labels?.version ??
    'latest'
  )
}

const PROXY_UID = 1337

/** Adds istio-init and istio-proxy to a pod about to be created; the pod is changed in place. */
export function injectSidecar(pod: Json, namespace: string, config: InjectionConfig): void {
  const { spec, metadata } = pod
  if ((spec.containers ?? []).some((c: Json) => c.name === 'istio-proxy')) return
  const workload = workloadOf(pod)
  const annotations = (metadata.annotations ??= {})
  const excluded = (key: string) =>
    String(annotations[key] ?? '')
      .split(',')
      .map((s) => s.trim())
      .filter(Boolean)
  const init: Json = {
    name: 'istio-init',
    image: config.proxyImage,
    imagePullPolicy: 'IfNotPresent',
    args: [
      'istio-iptables',
      '-p',
      '15001',
      '-z',
      '15006',
      '-u',
      String(PROXY_UID),
      '-m',
      'REDIRECT',
      '-i',
      annotations['traffic.sidecar.istio.io/includeOutboundIPRanges'] ?? '*',
      '-x',
      [...config.excludeCidrs, ...excluded('traffic.sidecar.istio.io/excludeOutboundIPRanges')].join(','),
      '-b',
      annotations['traffic.sidecar.istio.io/includeInboundPorts'] ?? '*',
      '-d',
      ['15090', '15021', '15020', ...excluded('traffic.sidecar.istio.io/excludeInboundPorts')].join(','),
      '-o',
      excluded('traffic.sidecar.istio.io/excludeOutboundPorts').join(',') || 'none',
    ],
    resources: { limits: { cpu: '2', memory: '1Gi' }, requests: { cpu: '10m', memory: '40Mi' } },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { add: ['NET_ADMIN', 'NET_RAW'], drop: ['ALL'] },
      privileged: false,
      readOnlyRootFilesystem: false,
      runAsGroup: 0,
      runAsNonRoot: false,
      runAsUser: 0,
    },
  }
  const field = (name: string, fieldPath: string): Json => ({
    name,
    valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath } },
  })
  const ports = (spec.containers ?? [])
    .flatMap((c: Json) => c.ports ?? [])
    .filter((p: Json) => (p.protocol ?? 'TCP') === 'TCP')
  const proxy: Json = {
    name: 'istio-proxy',
    image: config.proxyImage,
    imagePullPolicy: 'IfNotPresent',
    args: ['proxy', 'sidecar', '--domain', '$(POD_NAMESPACE).svc.cluster.local'],
    ports: [{ containerPort: 15090, name: 'http-envoy-prom', protocol: 'TCP' }],
    env: [
      { name: 'CA_ADDR', value: 'istiod.istio-system.svc:15012' },
      field('POD_NAME', 'metadata.name'),
      field('POD_NAMESPACE', 'metadata.namespace'),
      field('INSTANCE_IP', 'status.podIP'),
      field('SERVICE_ACCOUNT', 'spec.serviceAccountName'),
      field('HOST_IP', 'status.hostIP'),
      { name: 'ISTIO_META_CLUSTER_ID', value: 'Kubernetes' },
      { name: 'ISTIO_META_APP_CONTAINERS', value: (spec.containers ?? []).map((c: Json) => c.name).join(',') },
      { name: 'ISTIO_META_POD_PORTS', value: JSON.stringify(ports) },
      { name: 'ISTIO_META_WORKLOAD_NAME', value: workload.name },
      {
        name: 'ISTIO_META_OWNER',
        value: `kubernetes://apis/apps/v1/namespaces/${namespace}/${workload.kind.toLowerCase()}s/${workload.name}`,
      },
      { name: 'ISTIO_META_MESH_ID', value: 'cluster.local' },
      { name: 'TRUST_DOMAIN', value: 'cluster.local' },
    ],
    // The containers after this one start once the proxy has its first configuration.
    lifecycle: { postStart: { exec: { command: ['pilot-agent', 'wait'] } } },
    readinessProbe: {
      httpGet: { path: '/healthz/ready', port: 15021 },
      periodSeconds: 15,
      failureThreshold: 4,
      timeoutSeconds: 3,
    },
    resources: { limits: { cpu: '2', memory: '1Gi' }, requests: { cpu: '10m', memory: '40Mi' } },
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      privileged: false,
      readOnlyRootFilesystem: true,
      runAsGroup: PROXY_UID,
      runAsNonRoot: true,
      runAsUser: PROXY_UID,
    },
    volumeMounts: [
      { mountPath: '/var/run/secrets/istio', name: 'istiod-ca-cert' },
      { mountPath: '/var/run/secrets/tokens', name: 'istio-token' },
      { mountPath: '/etc/istio/pod', name: 'istio-podinfo' },
    ],
  }
  spec.initContainers = [init, ...(spec.initContainers ?? [])]
  spec.containers = [proxy, ...(spec.containers ?? [])]
  spec.volumes = [
    ...(spec.volumes ?? []),
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
  const labels = (metadata.labels ??= {})
  labels['service.istio.io/canonical-name'] ??= canonicalName(labels, workload.name)
  labels['service.istio.io/canonical-revision'] ??= canonicalRevision(labels)
  annotations['kubectl.kubernetes.io/default-container'] ??= spec.containers[1]?.name
  annotations['kubectl.kubernetes.io/default-logs-container'] ??= spec.containers[1]?.name
  annotations['sidecar.istio.io/status'] = JSON.stringify({
    initContainers: ['istio-init'],
    containers: ['istio-proxy'],
    volumes: ['istio-podinfo', 'istio-token', 'istiod-ca-cert'],
    imagePullSecrets: null,
    revision: 'default',
  })
}
