// The registry of kinds: what the server serves, by group, version and resource.

import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { CONVERSIONS, type VersionConversion } from './conversion.ts'

/** A subresource and the verbs it takes. */
export interface Subresource {
  readonly name: string
  readonly verbs: readonly string[]
}

/** One served resource in one version. */
export interface ResourceKind {
  readonly group: string
  readonly version: string
  readonly kind: string
  readonly plural: string
  readonly singular: string
  readonly namespaced: boolean
  readonly verbs: readonly string[]
  readonly subresources: readonly Subresource[]
  readonly shortNames: readonly string[]
  readonly categories: readonly string[]
  /** Name of the definition in the schemas; absent for custom resources. */
  readonly model?: string
  /** The version objects are stored in; equals `version` except for converted resources. */
  readonly storageVersion: string
  /** The CustomResourceDefinition's version entry, for custom resources. */
  // biome-ignore lint/suspicious/noExplicitAny: an apiextensions version object
  readonly custom?: Record<string, any>
  /** For a version that is converted: the kind it is stored as, and how. */
  readonly converted?: { readonly storage: ResourceKind; readonly conversion: VersionConversion }
}

/** The kind objects of `kind` are stored as: itself, but for converted versions. */
export function storedKind(kind: ResourceKind): ResourceKind {
  return kind.converted?.storage ?? kind
}

/** "apps/v1" or "v1". */
export function groupVersion(kind: { group: string; version: string }): string {
  return kind.group ? `${kind.group}/${kind.version}` : kind.version
}

/** "deployments.apps" or "pods": the name that is the same in all versions. */
export function groupResource(kind: { group: string; plural: string }): string {
  return kind.group ? `${kind.plural}.${kind.group}` : kind.plural
}

/** Names people type instead of the plural (kubectl api-resources), and the category "all". */
const SHORT_NAMES: Record<string, string> = {
  componentstatuses: 'cs',
  configmaps: 'cm',
  endpoints: 'ep',
  events: 'ev',
  limitranges: 'limits',
  namespaces: 'ns',
  nodes: 'no',
  persistentvolumeclaims: 'pvc',
  persistentvolumes: 'pv',
  pods: 'po',
  replicationcontrollers: 'rc',
  resourcequotas: 'quota',
  serviceaccounts: 'sa',
  services: 'svc',
  'customresourcedefinitions.apiextensions.k8s.io': 'crd,crds',
  'daemonsets.apps': 'ds',
  'deployments.apps': 'deploy',
  'replicasets.apps': 'rs',
  'statefulsets.apps': 'sts',
  'horizontalpodautoscalers.autoscaling': 'hpa',
  'cronjobs.batch': 'cj',
  'certificatesigningrequests.certificates.k8s.io': 'csr',
  'events.events.k8s.io': 'ev',
  'ingresses.networking.k8s.io': 'ing',
  'networkpolicies.networking.k8s.io': 'netpol',
  'ipaddresses.networking.k8s.io': 'ip',
  'poddisruptionbudgets.policy': 'pdb',
  'priorityclasses.scheduling.k8s.io': 'pc',
  'storageclasses.storage.k8s.io': 'sc',
  'volumeattributesclasses.storage.k8s.io': 'vac',
}

const CATEGORY_ALL = new Set([
  'pods',
  'replicationcontrollers',
  'services',
  'daemonsets.apps',
  'deployments.apps',
  'replicasets.apps',
  'statefulsets.apps',
  'horizontalpodautoscalers.autoscaling',
  'cronjobs.batch',
  'jobs.batch',
])

interface GeneratedKind {
  group: string
  version: string
  kind: string
  plural: string
  namespaced: boolean
  verbs: string[]
  subresources: Subresource[]
  model: string
}

/** Path of a generated file. */
export function generatedFile(name: string): string {
  return fileURLToPath(new URL(`../../generated/${name}`, import.meta.url))
}

const isConverted = (k: { group: string; version: string; plural: string }) =>
  CONVERSIONS.some((c) => c.group === k.group && c.version === k.version && c.plural === k.plural)

/** The built-in kinds, from the table generated at install, with the versions converted to them. */
export function builtinKinds(): ResourceKind[] {
  const list = JSON.parse(readFileSync(generatedFile('kinds.json'), 'utf8')) as GeneratedKind[]
  const stored = list
    .filter((k) => !isConverted(k))
    .map((k): ResourceKind => {
      const resource = groupResource(k)
      return {
        ...k,
        singular: k.kind.toLowerCase(),
        shortNames: SHORT_NAMES[resource]?.split(',') ?? [],
        categories: CATEGORY_ALL.has(resource) ? ['all'] : [],
        storageVersion: k.version,
      }
    })
  const converted = CONVERSIONS.flatMap((conversion): ResourceKind[] => {
    const { group, version, plural, model } = conversion
    const [storageGroup, storageVersion, storagePlural] = conversion.storage
    const storage = stored.find(
      (k) => k.group === storageGroup && k.version === storageVersion && k.plural === storagePlural,
    )
    if (!storage) return []
    const ownModel = model ?? storage.model
    return [
      {
        ...storage,
        group,
        version,
        plural,
        storageVersion,
        ...(ownModel ? { model: ownModel } : {}),
        shortNames: conversion.deprecated && group !== storage.group ? [] : storage.shortNames,
        categories: conversion.deprecated && group !== storage.group ? [] : storage.categories,
        converted: { storage, conversion },
      },
    ]
  })
  return [...stored, ...converted]
}

/** What is served now. Custom resources come and go. */
export class KindRegistry {
  /** By "group/version/plural". */
  readonly #byResource = new Map<string, ResourceKind>()
  readonly #byKind = new Map<string, ResourceKind>()
  #changes = 0

  constructor(kinds: Iterable<ResourceKind> = builtinKinds()) {
    for (const kind of kinds) this.add(kind)
  }

  /** Grows with every change; documents derived from the registry are cached by it. */
  get generation(): number {
    return this.#changes
  }

  add(kind: ResourceKind): void {
    this.#changes++
    this.#byResource.set(`${kind.group}/${kind.version}/${kind.plural}`, kind)
    this.#byKind.set(`${groupVersion(kind)}/${kind.kind}`, kind)
  }

  /** Removes every version of a resource. */
  remove(group: string, plural: string): void {
    for (const kind of this.all())
      if (kind.group === group && kind.plural === plural) {
        this.#changes++
        this.#byResource.delete(`${group}/${kind.version}/${plural}`)
        this.#byKind.delete(`${groupVersion(kind)}/${kind.kind}`)
      }
  }

  all(): ResourceKind[] {
    return [...this.#byResource.values()]
  }

  resource(group: string, version: string, plural: string): ResourceKind | undefined {
    return this.#byResource.get(`${group}/${version}/${plural}`)
  }

  /** The kind behind an object's apiVersion and kind. */
  kind(apiVersion: string, kind: string): ResourceKind | undefined {
    return this.#byKind.get(`${apiVersion}/${kind}`)
  }

  /** The version of a resource that is stored. */
  stored(group: string, plural: string): ResourceKind | undefined {
    for (const kind of this.#byResource.values())
      if (kind.group === group && kind.plural === plural && kind.version === kind.storageVersion && !kind.converted)
        return kind
    return undefined
  }

  hasVersion(group: string, version: string): boolean {
    return this.all().some((k) => k.group === group && k.version === version)
  }
}
