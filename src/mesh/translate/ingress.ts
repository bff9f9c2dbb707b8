// Ingresses as virtual hosts of the mesh's gateway. Pure.

import type { Json, KubeObject } from '#api'
import { toDuration } from '#api/xds'
import type { Message } from '#wire'
import { fqdnOf } from '../model/service.ts'
import { clusterName, type MeshView } from '../model/view.ts'

/** The controller that an IngressClass of ours names (Istio's own name for it). */
export const INGRESS_CONTROLLER = 'istio.io/ingress-controller'
const CLASS_ANNOTATION = 'kubernetes.io/ingress.class'

/**
 * True when an Ingress is ours to serve: by its class, its old annotation, or because it names none. `mode` is
 * MeshConfig's ingressControllerMode: with STRICT one that names none is not, with OFF none is.
 */
export function servesIngress(ingress: KubeObject, classes: readonly KubeObject[], mode = 'DEFAULT'): boolean {
  if (mode === 'OFF') return false
  const name = ingress.spec?.ingressClassName
  if (name !== undefined && name !== null)
    return classes.find((c) => c.metadata.name === name)?.spec?.controller === INGRESS_CONTROLLER
  const annotation = ingress.metadata.annotations?.[CLASS_ANNOTATION]
  if (!annotation) return mode !== 'STRICT'
  return (
    annotation === 'istio' ||
    classes.some((c) => c.metadata.name === annotation && c.spec?.controller === INGRESS_CONTROLLER)
  )
}

/** Why nobody serves an Ingress: it names a class that does not exist. Undefined when it is ours or another's. */
export function unservedReason(ingress: KubeObject, classes: readonly KubeObject[]): string | undefined {
  const name = ingress.spec?.ingressClassName
  if (!name || classes.some((c) => c.metadata.name === name)) return undefined
  const ours = classes.filter((c) => c.spec?.controller === INGRESS_CONTROLLER).map((c) => c.metadata.name)
  return (
    `spec.ingressClassName: there is no IngressClass "${name}", so nothing serves this Ingress. ` +
    (ours.length > 0
      ? `Set it to "${ours[0]}", or install the controller of class "${name}".`
      : `Install the controller of class "${name}".`)
  )
}

/** The certificates of an Ingress and the hosts each is for; no hosts means all. */
export function ingressTls(ingress: KubeObject): { hosts: string[]; secretName: string }[] {
  return ((ingress.spec?.tls ?? []) as Json[])
    .filter((t) => t.secretName)
    .map((t) => ({ hosts: t.hosts ?? [], secretName: t.secretName }))
}

/** The routes of every host of all Ingresses: the most specific path first, whichever Ingress it is from. */
export function ingressRoutes(view: MeshView, ingresses: readonly KubeObject[]): Map<string, Message[]> {
  const paths = new Map<string, { path: Json; route: Message }[]>()
  const fallbacks = new Map<string, Message[]>()
  const put = <T>(map: Map<string, T[]>, host: string, ...items: T[]) =>
    map.set(host, [...(map.get(host) ?? []), ...items])
  for (const ingress of ingresses) {
    const namespace = ingress.metadata.namespace ?? ''
    const fallback = backendRoute(view, namespace, {
      path: '/',
      pathType: 'Prefix',
      backend: ingress.spec?.defaultBackend,
    })
    const rules = (ingress.spec?.rules ?? []) as Json[]
    for (const rule of rules) {
      const host = rule.host || '*'
      put(paths, host)
      for (const path of (rule.http?.paths ?? []) as Json[]) {
        const route = backendRoute(view, namespace, path)
        if (route) put(paths, host, { path, route })
      }
      if (fallback) put(fallbacks, host, fallback)
    }
    if (fallback && !rules.some((r) => !r.host)) put(fallbacks, '*', fallback)
  }
  const hosts = new Set([...paths.keys(), ...fallbacks.keys()])
  return new Map(
    [...hosts].map((host) => [
      host,
      [
        ...(paths.get(host) ?? []).sort((a, b) => bySpecificity(a.path, b.path)).map((p) => p.route),
        ...(fallbacks.get(host) ?? []).slice(0, 1),
      ],
    ]),
  )
}

/** Exact paths first, then the longer prefix (networking.k8s.io/v1, "Multiple matches"). */
function bySpecificity(a: Json, b: Json): number {
  const exact = (p: Json) => (p.pathType === 'Exact' ? 1 : 0)
  return exact(b) - exact(a) || (b.path ?? '/').length - (a.path ?? '/').length
}

function backendRoute(view: MeshView, namespace: string, path: Json): Message | undefined {
  const { name, port } = path.backend?.service ?? {}
  if (!name) return undefined
  const service = view.services.find((s) => s.metadata.namespace === namespace && s.metadata.name === name)
  const ports: Json[] = service?.spec?.ports ?? []
  const number = port?.number ?? ports.find((p) => p.name === port?.name)?.port ?? 0
  const host = service ? fqdnOf(service) : `${name}.${namespace}.svc.cluster.local`
  return {
    match: pathMatch(path),
    route: { cluster: clusterName(number, '', host), timeout: toDuration(0) },
    decorator: { operation: `${host}:${number}${path.path ?? '/*'}` },
  }
}

/** Prefix matches whole elements of a path; what is left to the implementation is a prefix here. */
function pathMatch(path: Json): Message {
  const text: string = path.path || '/'
  if (path.pathType === 'Exact') return { path: text }
  const trimmed = text.replace(/\*$/, '').replace(/\/+$/, '')
  if (trimmed === '') return { prefix: '/' }
  return { path_separated_prefix: trimmed }
}
