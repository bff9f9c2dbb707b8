// Sidecar injection: what a pod gets in a namespace that asks for it. Pure.

import { errors, type Json, type KubeObject, strategicMerge } from '#api'
import type { MeshConfig } from '../model/mesh-config.ts'
import { canonicalName, canonicalRevision, workloadOf } from '../model/workload.ts'
import {
  PROXY_MOUNTS,
  PROXY_RESOURCES,
  PROXY_SECURITY,
  PROXY_UID,
  PROXY_VOLUMES,
  proxyArgs,
  proxyIdentity,
} from '../proxy-pod.ts'
import { annotationProblems, namedParts } from './annotations.ts'
import { envoyContainer, envoyImage } from './envoy.ts'
import { isGatewayPod } from './policy.ts'
import { rewriteProbes } from './probes.ts'
import { proxyConfigOf } from './proxy-config.ts'

export interface InjectionConfig {
  readonly proxyImage: string
  /** Address ranges that are not redirected: the cluster's own parts. */
  readonly excludeCidrs: readonly string[]
  readonly mesh: MeshConfig
  /** The ProxyConfig objects there are. */
  readonly proxyConfigs?: readonly KubeObject[]
}

const TRAFFIC = 'traffic.sidecar.istio.io/'
const WEBHOOK = 'admission webhook "namespace.sidecar-injector.istio.io"'

/**
 * Adds istio-init and istio-proxy to a pod about to be created; the pod is changed in place. Fails with BadRequest,
 * as the API server says it of Istio's webhook, when its annotations cannot be followed.
 */
export function injectSidecar(pod: Json, namespace: string, config: InjectionConfig): void {
  const { metadata } = pod
  if (metadata.annotations?.['sidecar.istio.io/status']) return
  const spec: Json = pod.spec
  const annotations: Record<string, string> = (metadata.annotations ??= {})
  const problems = annotationProblems(annotations)
  if (problems.length > 0) throw errors.badRequest(`${WEBHOOK} denied the request: ${problems.join('; ')}`)
  const gateway = isGatewayPod(pod)
  const own = takeOwn(spec, 'istio-proxy')
  if (!own && gateway) return
  const apps: Json[] = spec.containers ?? []
  const ownInit = takeOwn(spec, 'istio-init')
  const others: Json[] = spec.initContainers ?? []
  const { labels: podLabels = {} } = metadata
  const proxyConfig = proxyConfigOf(
    { namespace, labels: podLabels, annotations },
    config.mesh,
    config.proxyConfigs ?? [],
  )
  const native = !gateway && wantsNative(annotations)
  const envoy = envoyImage(annotations)
  // What our own agent does is not in an Envoy's image.
  const merged = !envoy && mergesMetrics(annotations, config.mesh)
  const workload = workloadOf(pod)
  const probers =
    !gateway && !envoy && annotations['sidecar.istio.io/rewriteAppHTTPProbers'] !== 'false'
      ? rewriteProbes([...apps, ...others.filter((c) => c.restartPolicy === 'Always')])
      : {}
  const proxy = overlaid(
    {
      ...proxyContainer({ pod, namespace, apps, workload, annotations, proxyConfig, config, gateway }),
      ...(native ? { restartPolicy: 'Always' } : {}),
      ...(envoy ? envoyContainer(envoy, gateway ? 'router' : 'sidecar') : {}),
    },
    own,
  )
  if (Object.keys(probers).length > 0)
    proxy.env.push({ name: 'ISTIO_KUBE_APP_PROBERS', value: JSON.stringify(probers) })
  if (merged) proxy.env.push({ name: 'ISTIO_PROMETHEUS_ANNOTATIONS', value: JSON.stringify(scrapeOf(annotations)) })
  // What the proxy itself sends is told from the rest by its user.
  const user = Number(proxy.securityContext?.runAsUser ?? PROXY_UID)
  const redirects = !gateway && annotations['sidecar.istio.io/interceptionMode'] !== 'NONE'
  const init = redirects ? [overlaid(initContainer(annotations, config, user), ownInit)] : []
  // Without a proxy beside them, init containers would be redirected to nobody: the redirection comes after them.
  spec.initContainers = native ? [...init, proxy, ...others] : [...others, ...init]
  if (spec.initContainers.length === 0) delete spec.initContainers
  if (!native) spec.containers = [proxy, ...apps]
  spec.volumes = [...(spec.volumes ?? []), ...PROXY_VOLUMES, ...namedParts(annotations['sidecar.istio.io/userVolume'])]
  const labels: Record<string, string> = (metadata.labels ??= {})
  labels['service.istio.io/canonical-name'] ??= canonicalName(labels, workload.name)
  labels['service.istio.io/canonical-revision'] ??= canonicalRevision(labels)
  if (gateway) return void (annotations['sidecar.istio.io/status'] = statusOf([], ['istio-proxy']))
  annotations['kubectl.kubernetes.io/default-container'] ??= apps[0]?.name
  annotations['kubectl.kubernetes.io/default-logs-container'] ??= apps[0]?.name
  if (merged) {
    annotations['prometheus.io/port'] = '15020'
    annotations['prometheus.io/scrape'] = 'true'
    annotations['prometheus.io/path'] = '/stats/prometheus'
  }
  annotations['istio.io/rev'] ??= 'default'
  const inits = init.map((c) => String(c.name))
  annotations['sidecar.istio.io/status'] = native
    ? statusOf([...inits, 'istio-proxy'], [])
    : statusOf(inits, ['istio-proxy'])
}

const statusOf = (initContainers: string[], containers: string[]) =>
  JSON.stringify({
    initContainers: initContainers.length > 0 ? initContainers : null,
    containers: containers.length > 0 ? containers : null,
    volumes: PROXY_VOLUMES.map((v) => v.name),
    imagePullSecrets: null,
    revision: 'default',
  })

/** A container of one of our names that the pod brings itself: what it says goes over what is injected. */
function takeOwn(spec: Json, name: string): Json | undefined {
  let own: Json | undefined
  for (const list of ['containers', 'initContainers'] as const) {
    const all: Json[] = spec[list] ?? []
    own ??= all.find((c) => c.name === name)
    if (all.some((c) => c.name === name)) spec[list] = all.filter((c) => c.name !== name)
  }
  return own
}

/** A container with what the pod's own says laid over it, as a strategic merge patch is. */
function overlaid(template: Json, own: Json | undefined): Json {
  if (!own) return template
  const { image, ...rest } = own
  return strategicMerge(template, image && image !== 'auto' ? own : rest, 'core.v1.Container')
}

/** Every node here runs sidecars beside init containers, so that is what Istio's "auto" chooses. */
const wantsNative = (annotations: Readonly<Record<string, string>>) =>
  annotations['sidecar.istio.io/nativeSidecar'] !== 'false'

function mergesMetrics(annotations: Readonly<Record<string, string>>, mesh: MeshConfig): boolean {
  const own = annotations['prometheus.istio.io/merge-metrics']
  return (
    annotations['prometheus.io/scrape'] !== 'false' && (own === undefined ? mesh.enablePrometheusMerge : own === 'true')
  )
}

const scrapeOf = (annotations: Readonly<Record<string, string>>) => ({
  scrape: annotations['prometheus.io/scrape'] ?? '',
  path: annotations['prometheus.io/path'] ?? '',
  port: annotations['prometheus.io/port'] ?? '',
})

function initContainer(annotations: Readonly<Record<string, string>>, config: InjectionConfig, user: number): Json {
  const parts = (key: string) =>
    String(annotations[`${TRAFFIC}${key}`] ?? '')
      .split(',')
      .map((s) => s.trim())
      .filter(Boolean)
  const only = parts('includeOutboundPorts')
  return {
    name: 'istio-init',
    image: config.proxyImage,
    imagePullPolicy: 'IfNotPresent',
    args: [
      'istio-iptables',
      ...['-p', '15001', '-z', '15006', '-u', String(user), '-m', 'REDIRECT'],
      ...['-i', annotations[`${TRAFFIC}includeOutboundIPRanges`] ?? '*'],
      ...['-x', [...config.excludeCidrs, ...parts('excludeOutboundIPRanges')].join(',')],
      ...['-b', annotations[`${TRAFFIC}includeInboundPorts`] ?? '*'],
      ...['-d', ['15090', '15021', '15020', ...parts('excludeInboundPorts')].join(',')],
      ...['-o', parts('excludeOutboundPorts').join(',') || 'none'],
      ...(only.length > 0 ? ['-q', only.join(',')] : []),
    ],
    resources: PROXY_RESOURCES,
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
}

/** The proxy's resources: what annotations say; one that is given alone stands alone, as in Istio. */
function resourcesOf(annotations: Readonly<Record<string, string>>): Json {
  const of = (suffix: string) => ({
    ...(annotations[`sidecar.istio.io/proxyCPU${suffix}`]
      ? { cpu: annotations[`sidecar.istio.io/proxyCPU${suffix}`] }
      : {}),
    ...(annotations[`sidecar.istio.io/proxyMemory${suffix}`]
      ? { memory: annotations[`sidecar.istio.io/proxyMemory${suffix}`] }
      : {}),
  })
  const requests = of('')
  const limits = of('Limit')
  if (Object.keys(requests).length + Object.keys(limits).length === 0) return PROXY_RESOURCES
  return {
    ...(Object.keys(limits).length > 0 ? { limits } : {}),
    ...(Object.keys(requests).length > 0 ? { requests } : {}),
  }
}

interface ProxyFacts {
  readonly pod: Json
  readonly namespace: string
  readonly apps: readonly Json[]
  readonly workload: { name: string; kind: string }
  readonly annotations: Readonly<Record<string, string>>
  readonly proxyConfig: Json
  readonly config: InjectionConfig
  readonly gateway: boolean
}

function proxyContainer(facts: ProxyFacts): Json {
  const { namespace, apps, workload, annotations, proxyConfig, config, gateway } = facts
  const ports = apps.flatMap((c) => c.ports ?? []).filter((p: Json) => (p.protocol ?? 'TCP') === 'TCP')
  const drain = proxyConfig.terminationDrainDuration
  const status = annotations['status.sidecar.istio.io/port']
  const seconds = (key: string, usual: number) =>
    Number(annotations[`readiness.status.sidecar.istio.io/${key}`] ?? usual)
  return {
    name: 'istio-proxy',
    image: annotations['sidecar.istio.io/proxyImage'] ?? config.proxyImage,
    imagePullPolicy: 'IfNotPresent',
    args: proxyArgs(gateway ? 'router' : 'sidecar', proxyConfig.concurrency),
    ports: [{ containerPort: 15090, name: 'http-envoy-prom', protocol: 'TCP' }],
    env: [
      ...proxyIdentity({
        workload: workload.name,
        trustDomain: config.mesh.trustDomain,
        discoveryAddress: proxyConfig.discoveryAddress,
      }),
      { name: 'ISTIO_META_APP_CONTAINERS', value: apps.map((c) => c.name).join(',') },
      { name: 'ISTIO_META_POD_PORTS', value: JSON.stringify(ports) },
      {
        name: 'ISTIO_META_OWNER',
        value: `kubernetes://apis/apps/v1/namespaces/${namespace}/${workload.kind.toLowerCase()}s/${workload.name}`,
      },
      ...(drain ? [{ name: 'TERMINATION_DRAIN_DURATION', value: String(drain) }] : []),
      ...Object.entries(proxyConfig.proxyMetadata ?? {}).map(([name, value]) => ({ name, value: String(value) })),
    ],
    // The containers after this one start once the proxy has its first configuration.
    ...(gateway ? {} : { lifecycle: { postStart: { exec: { command: ['pilot-agent', 'wait'] } } } }),
    ...(status === '0'
      ? {}
      : {
          readinessProbe: {
            httpGet: { path: '/healthz/ready', port: 15021 },
            initialDelaySeconds: seconds('initialDelaySeconds', 0),
            periodSeconds: seconds('periodSeconds', 15),
            failureThreshold: seconds('failureThreshold', 4),
            timeoutSeconds: 3,
          },
        }),
    resources: resourcesOf(annotations),
    securityContext: PROXY_SECURITY,
    volumeMounts: [...PROXY_MOUNTS, ...namedParts(annotations['sidecar.istio.io/userVolumeMount'])],
  }
}
