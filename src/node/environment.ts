// A container's environment: from the pod, ConfigMaps, Secrets, the downward API and Services. Pure.

import { bytesOf, type Json, type KubeObject, milliCpu } from '#api'
import { SampanError } from '#base'

/** What environments are made from besides the pod. */
export interface EnvironmentSources {
  configMap(name: string): KubeObject | undefined
  secret(name: string): KubeObject | undefined
  /** Services of the pod's namespace, and `kubernetes` of the default one. */
  services: readonly KubeObject[]
  podIp: string
  hostIp: string
  nodeName: string
  allocatable: { cpu: string; memory: string }
}

/** A reference that cannot be resolved now: the container waits with CreateContainerConfigError. */
export class ConfigError extends SampanError {
  constructor(message: string) {
    super('CreateContainerConfigError', message)
  }
}

/** The variables of a container in order. Fails with ConfigError. */
export function buildEnvironment(pod: KubeObject, container: Json, sources: EnvironmentSources): Map<string, string> {
  const env = new Map<string, string>()
  const service = serviceVariables(pod, sources.services)
  const result = new Map<string, string>()
  for (const from of (container.envFrom ?? []) as Json[]) {
    const ref = from.configMapRef ?? from.secretRef
    const kind = from.configMapRef ? 'configmap' : 'secret'
    const object = from.configMapRef ? sources.configMap(ref.name) : sources.secret(ref.name)
    if (!object) {
      if (ref.optional) continue
      throw new ConfigError(`${kind} "${ref.name}" not found`)
    }
    for (const [key, value] of Object.entries<string>(object.data ?? {}))
      if (/^[-._a-zA-Z0-9]+$/.test(key))
        result.set(`${from.prefix ?? ''}${key}`, from.secretRef ? decode(value) : value)
  }
  for (const variable of (container.env ?? []) as Json[]) {
    const value = variable.valueFrom
      ? resolveSource(pod, container, variable.valueFrom, sources)
      : expand(variable.value ?? '', (n) => result.get(n) ?? service.get(n))
    if (value !== undefined) result.set(variable.name, value)
  }
  for (const [key, value] of service) if (!result.has(key)) env.set(key, value)
  for (const [key, value] of result) env.set(key, value)
  return env
}

const decode = (text: string) => Buffer.from(text, 'base64').toString('utf8')

/** Expands $(NAME); $$(NAME) is left as $(NAME), an unknown name as it is. */
export function expand(text: string, lookup: (name: string) => string | undefined): string {
  return text.replace(/\$(\$|\(([^)]*)\))/g, (all, token: string, name: string) =>
    token === '$' ? '$' : (lookup(name) ?? all),
  )
}

function resolveSource(
  pod: KubeObject,
  container: Json,
  source: Json,
  sources: EnvironmentSources,
): string | undefined {
  if (source.fieldRef) return podField(pod, source.fieldRef.fieldPath, sources)
  if (source.resourceFieldRef) return resourceField(pod, container, source.resourceFieldRef, sources)
  const ref = source.configMapKeyRef ?? source.secretKeyRef
  const kind = source.configMapKeyRef ? 'configmap' : 'secret'
  const object = source.configMapKeyRef ? sources.configMap(ref.name) : sources.secret(ref.name)
  const value = object?.data?.[ref.key]
  if (value !== undefined) return source.secretKeyRef ? decode(value) : value
  if (ref.optional) return undefined
  if (!object) throw new ConfigError(`${kind} "${ref.name}" not found`)
  throw new ConfigError(
    `couldn't find key ${ref.key} in ${kind === 'configmap' ? 'ConfigMap' : 'Secret'} ${pod.metadata.namespace}/${ref.name}`,
  )
}

/** A field of the downward API. */
export function podField(
  pod: KubeObject,
  path: string,
  sources: Pick<EnvironmentSources, 'podIp' | 'hostIp' | 'nodeName'>,
): string {
  const keyed = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path)
  if (keyed) return (keyed[1] === 'labels' ? pod.metadata.labels : pod.metadata.annotations)?.[keyed[2]!] ?? ''
  switch (path) {
    case 'metadata.name':
      return pod.metadata.name
    case 'metadata.namespace':
      return pod.metadata.namespace ?? ''
    case 'metadata.uid':
      return pod.metadata.uid
    case 'metadata.labels':
    case 'metadata.annotations':
      return Object.entries(pod.metadata[path === 'metadata.labels' ? 'labels' : 'annotations'] ?? {})
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([k, v]) => `${k}=${JSON.stringify(v)}`)
        .join('\n')
    case 'spec.nodeName':
      return sources.nodeName
    case 'spec.serviceAccountName':
      return pod.spec.serviceAccountName ?? ''
    case 'status.hostIP':
    case 'status.hostIPs':
      return sources.hostIp
    case 'status.podIP':
    case 'status.podIPs':
      return sources.podIp
    default:
      throw new ConfigError(`unsupported fieldPath: ${path}`)
  }
}

function resourceField(pod: KubeObject, container: Json, ref: Json, sources: EnvironmentSources): string {
  const target = ref.containerName
    ? (pod.spec.containers as Json[]).find((c) => c.name === ref.containerName)
    : container
  const [kind, name] = String(ref.resource).split('.') as [string, 'cpu' | 'memory']
  const amount = target?.resources?.[kind]?.[name] ?? (kind === 'limits' ? sources.allocatable[name] : '0')
  if (name === 'cpu') return String(Math.ceil(milliCpu(amount) / Math.max(1, milliCpu(ref.divisor || '1'))))
  return String(Math.ceil(bytesOf(amount) / Math.max(1, bytesOf(ref.divisor || '1'))))
}

/** The variables docker links once set: addresses of the Services that exist when the container starts. */
function serviceVariables(pod: KubeObject, services: readonly KubeObject[]): Map<string, string> {
  const env = new Map<string, string>()
  for (const service of services) {
    const ip = service.spec?.clusterIP
    if (!ip || ip === 'None') continue
    const isKubernetes = service.metadata.name === 'kubernetes' && service.metadata.namespace === 'default'
    if (pod.spec.enableServiceLinks === false && !isKubernetes) continue
    const prefix = service.metadata.name.toUpperCase().replaceAll('-', '_')
    const ports: Json[] = service.spec.ports ?? []
    if (ports.length === 0) continue
    env.set(`${prefix}_SERVICE_HOST`, ip)
    env.set(`${prefix}_SERVICE_PORT`, String(ports[0]!.port))
    for (const p of ports)
      if (p.name) env.set(`${prefix}_SERVICE_PORT_${p.name.toUpperCase().replaceAll('-', '_')}`, String(p.port))
    for (const [i, p] of ports.entries()) {
      const protocol = String(p.protocol ?? 'TCP')
      const url = `${protocol.toLowerCase()}://${ip}:${p.port}`
      const base = `${prefix}_PORT_${p.port}_${protocol}`
      if (i === 0) env.set(`${prefix}_PORT`, url)
      env.set(base, url)
      env.set(`${base}_PROTO`, protocol.toLowerCase())
      env.set(`${base}_PORT`, String(p.port))
      env.set(`${base}_ADDR`, ip)
    }
  }
  return env
}
