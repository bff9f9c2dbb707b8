// The objects that are analyzed, found by what analyzers look for.

import { type Json, type KubeObject, keyOf } from '#api'
import { covers, resolveHost } from '../model/host.ts'
import { entryServices, kubeService, type MeshService } from '../model/service.ts'
import { isExported } from '../model/visibility.ts'
import { type Level, type MessageId, messageType } from './messages.ts'

/** Where in an object: field names and indexes. */
export type FieldPath = readonly (string | number)[]

/** What is wrong with an object. */
export interface Finding {
  readonly level: Level
  readonly code: string
  readonly name: string
  /** "VirtualService default/name". */
  readonly object: string
  readonly message: string
  readonly path?: FieldPath
  /** Where the object was read from, "file:line". */
  readonly reference?: string
}

/** An object's name in findings. */
export const nameOf = (o: KubeObject): string => `${o.kind} ${keyOf(o)}`

export class World {
  readonly #kinds = new Map<string, KubeObject[]>()
  #namespaces: Map<string, Record<string, string>> | undefined
  readonly hosts: ReadonlyMap<string, MeshService>
  readonly findings: Finding[] = []

  constructor(objects: readonly KubeObject[]) {
    for (const o of objects) {
      const known = this.#kinds.get(kindKey(o))
      if (known) known.push(o)
      else this.#kinds.set(kindKey(o), [o])
    }
    const services = [...this.of('Service').flatMap(kubeService), ...this.of('ServiceEntry').flatMap(entryServices)]
    this.hosts = new Map(services.map((s) => [s.host, s]))
  }

  /** Objects of a kind; of the two that are called Gateway, Istio's. */
  of(kind: string): readonly KubeObject[] {
    return this.#kinds.get(kind) ?? []
  }

  in(kind: string, namespace: string | undefined): readonly KubeObject[] {
    return this.of(kind).filter((o) => o.metadata.namespace === namespace)
  }

  get(kind: string, namespace: string, name: string): KubeObject | undefined {
    return this.in(kind, namespace).find((o) => o.metadata.name === name)
  }

  /** The service that a host written in a namespace means. */
  service(host: string, namespace: string): MeshService | undefined {
    const full = resolveHost(host, namespace)
    const seen = (s: MeshService) => isExported(s.exportTo, s.namespace, namespace)
    const exact = this.hosts.get(full)
    if (exact && seen(exact)) return exact
    return [...this.hosts.values()].find((s) => s.host.startsWith('*') && covers(s.host, full) && seen(s))
  }

  /** The labels of a namespace. */
  namespaceLabels(name: string | undefined): Readonly<Record<string, string>> {
    this.#namespaces ??= new Map(this.of('Namespace').map((n) => [n.metadata.name, n.metadata.labels ?? {}]))
    return this.#namespaces.get(name ?? '') ?? {}
  }

  /** As `report`, but what has been said of an object is not said again. */
  reportOnce(id: MessageId, object: KubeObject, message: string): void {
    const said = nameOf(object)
    if (!this.findings.some((f) => f.object === said && f.message === message)) this.report(id, object, message)
  }

  report(id: MessageId, object: KubeObject, message: string, path?: FieldPath): void {
    this.findings.push({ ...messageType(id), object: nameOf(object), message, ...(path ? { path } : {}) })
  }
}

function kindKey(o: KubeObject): string {
  return o.kind === 'Gateway' && String(o.apiVersion).startsWith('gateway.networking.k8s.io') ? 'k8s/Gateway' : o.kind
}

/** A path of fields as Istio writes it: "spec.http[0].route". */
export const pathText = (path: FieldPath): string =>
  path.reduce<string>(
    (text, part) => (typeof part === 'number' ? `${text}[${part}]` : text ? `${text}.${part}` : part),
    '',
  )

export type Analyzer = (world: World) => void

/** The labels of all pods there are or will be: those of Deployments count as well. */
export function* workloads(world: World, namespace: string | undefined): Generator<Json> {
  for (const pod of world.of('Pod')) if (!namespace || pod.metadata.namespace === namespace) yield pod
  for (const kind of ['Deployment', 'StatefulSet', 'DaemonSet'])
    for (const o of world.of(kind))
      if (!namespace || o.metadata.namespace === namespace)
        yield { ...o.spec?.template, metadata: { ...o.spec?.template?.metadata, namespace: o.metadata.namespace } }
}
