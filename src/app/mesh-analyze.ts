// `sampan mesh analyze`: findings about a cluster, about files as they would be in it, or about files alone.

import { type KubeObject, keyOf } from '#api'
import { SampanError } from '#base'
import { ANALYZED, analyzeObjects, analyzerNames, atLeast, type Finding } from '#mesh'
import { type KubeAccess, listObjects, readAccess } from './kube-access.ts'
import { type FileObject, filesOf, meshConfigMap, objectsOf } from './mesh-files.ts'

export interface AnalyzeOptions {
  readonly kubeconfig: string
  /** The kubeconfig's context; the current one where none is named. */
  readonly context?: string | undefined
  readonly files: readonly string[]
  readonly recursive: boolean
  /** Whether the cluster's objects are looked at too. */
  readonly useKube: boolean
  readonly allNamespaces: boolean
  readonly namespace: string
  /** MeshConfig to look at instead of the cluster's. */
  readonly meshConfigFile?: string | undefined
  readonly outputThreshold: Finding['level']
  /** "CODE=KIND NAME.NAMESPACE", with "*" for any. */
  readonly suppress: readonly string[]
}

/** Files alone are looked at as if they were in a cluster with the usual ingress gateway, as istioctl does. */
const INGRESS_GATEWAY: readonly KubeObject[] = ['Service', 'Pod'].map((kind) => {
  const labels = { app: 'istio-ingressgateway', istio: 'ingressgateway' }
  const port = (name: string, number: number, targetPort: number) => ({ name, port: number, targetPort })
  return {
    apiVersion: 'v1',
    kind,
    metadata: {
      name: 'istio-ingressgateway',
      namespace: 'istio-system',
      labels,
      uid: '',
      resourceVersion: '',
      creationTimestamp: '',
    },
    spec:
      kind === 'Service'
        ? {
            selector: labels,
            ports: [
              port('status-port', 15021, 15021),
              port('http2', 80, 8080),
              port('https', 443, 8443),
              port('tcp', 31400, 31400),
              port('tls', 15443, 15443),
            ],
          }
        : { containers: [{ name: 'istio-proxy' }] },
  }
})

/** A finding with where it is from. */
export interface Located extends Finding {
  /** The namespace of the object; "" for what is in none. */
  readonly namespace: string
  /** The offending line, of what is from a file. */
  readonly text?: string
}

export interface Analysis {
  readonly findings: readonly Located[]
  /** The namespace that was looked at; "" for all. */
  readonly namespace: string
}

/** Analyzes. Fails with SampanError when files or the cluster cannot be read, or a suppression makes no sense. */
export async function analyze(options: AnalyzeOptions): Promise<Analysis> {
  const access: KubeAccess | undefined = options.useKube ? readAccess(options.kubeconfig, options.context) : undefined
  const namespace = options.namespace || access?.namespace || 'default'
  const read = filesOf(options.files, options.recursive).map((file) => objectsOf(file, namespace))
  const files = read.flatMap((r) => r.objects)
  const live = access ? (await Promise.all(ANALYZED.map((r) => listObjects(access, r)))).flat() : []
  // What a file says takes the place of what is in the cluster.
  const nameOf = (o: KubeObject) => `${o.kind} ${keyOf(o)}`
  const byName = new Map(files.map((f) => [nameOf(f.object), f]))
  const given = options.meshConfigFile ? [meshConfigMap(options.meshConfigFile)] : []
  const replaced = new Set([...byName.keys(), ...given.map(nameOf)])
  const others = [...given, ...(access ? live : INGRESS_GATEWAY).filter((o) => !replaced.has(nameOf(o)))]
  // Of several of one name the last counts, as when they are applied in turn.
  const objects = [...others, ...[...byName.values()].map((f) => f.object)]
  const suppressed = options.suppress.map(suppression)
  const findings = analyzeObjects(objects)
    .map((f) => locate(f, byName.get(f.object)))
    .filter((f) => atLeast(f.level, options.outputThreshold))
    .filter(
      (f) => options.allNamespaces || byName.has(f.object) || f.namespace === namespace || isNamespace(f, namespace),
    )
    .filter((f) => !suppressed.some((s) => s(f)))
  const unreadable: Located[] = read
    .flatMap((r) => r.problems)
    .map((p) => ({
      level: 'Error',
      code: 'IST0106',
      name: 'SchemaValidationError',
      object: p.file,
      namespace: '',
      message: `Schema validation error: ${p.message}`,
      reference: `${p.file}:${p.line}`,
    }))
  return { findings: [...unreadable, ...findings], namespace: options.allNamespaces ? '' : namespace }
}

const isNamespace = (f: Finding, name: string) => f.object === `Namespace ${name}`

function locate(finding: Finding, from: FileObject | undefined): Located {
  const key = finding.object.slice(finding.object.indexOf(' ') + 1)
  const namespace = key.includes('/') ? key.slice(0, key.indexOf('/')) : ''
  if (!from) return { ...finding, namespace }
  const path = finding.path ?? []
  return { ...finding, namespace, reference: `${from.file}:${from.lineOf(path)}`, text: from.textOf(path) }
}

function suppression(text: string): (f: Located) => boolean {
  // "IST0102=Namespace default", "IST0101=VirtualService a.b", "IST0173=*.b"
  const [, code = '', kind = '*', rest = ''] = /^([^=]+)=(?:(\S+) )?(\S+)$/.exec(text) ?? []
  if (!code)
    throw new SampanError(
      'BadSuppression',
      `Cannot use -S ${JSON.stringify(text)}; write it like "IST0102=Namespace default" or "IST0101=VirtualService reviews.default"`,
    )
  const pattern = new RegExp(
    `^${rest
      .split('*')
      .map((s) => s.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
      .join('.*')}$`,
  )
  return (f) => {
    const [of = '', key = ''] = f.object.split(' ')
    const [namespace = '', name = ''] = key.includes('/') ? key.split('/') : ['', key]
    return f.code === code && (kind === '*' || of === kind) && pattern.test(namespace ? `${name}.${namespace}` : name)
  }
}

/** A finding as istioctl writes it. */
export function lineOf(f: Located): string {
  const where = f.reference ? `${f.object} ${f.reference}` : f.object
  return `${f.level} [${f.code}] (${where}) ${f.message}${f.text ? `\n    ${f.text}` : ''}`
}

/** A finding as istioctl's JSON has it. */
export function jsonOf(f: Located): object {
  return {
    code: f.code,
    documentationUrl: `https://istio.io/latest/docs/reference/config/analysis/${f.code.toLowerCase()}/`,
    level: f.level,
    message: f.message,
    origin: f.object,
    ...(f.reference ? { reference: f.reference } : {}),
    ...(f.text ? { text: f.text } : {}),
  }
}

export { analyzerNames, atLeast }
