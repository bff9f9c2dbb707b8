// ProxyConfig of a workload: what its proxy begins with. Pure (istio.io, "ProxyConfig": the nearer says more).

import { parse } from 'yaml'
import type { Json, KubeObject } from '#api'
import type { MeshConfig } from '../model/mesh-config.ts'
import { byAge, matches } from '../model/view.ts'

/** The pod that a proxy goes into. */
export interface ProxyWorkload {
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
  readonly annotations: Readonly<Record<string, string>>
}

/**
 * MeshConfig's defaultConfig, under the ProxyConfig of the root namespace, that of the workload's namespace, the one that
 * selects the workload, and its annotation proxy.istio.io/config. The oldest counts of several at one level; an
 * annotation that cannot be read is as if it were not there.
 */
export function proxyConfigOf(workload: ProxyWorkload, mesh: MeshConfig, objects: readonly KubeObject[]): Json {
  const sorted = [...objects].sort(byAge)
  const inside = (namespace: string) => sorted.filter((o) => o.metadata.namespace === namespace)
  const labelsOf = (o: KubeObject): Json => o.spec?.selector?.matchLabels ?? {}
  const whole = (o: KubeObject) => Object.keys(labelsOf(o)).length === 0
  const own = inside(workload.namespace)
  return [
    inside(mesh.rootNamespace).find(whole),
    own.find(whole),
    own.find((o) => !whole(o) && matches(labelsOf(o), workload.labels)),
  ]
    .map(fromObject)
    .concat(fromAnnotation(workload.annotations))
    .reduce(merged, mesh.defaultConfig)
}

const fromObject = (object: KubeObject | undefined): Json => {
  const { concurrency, environmentVariables, image }: Json = object?.spec ?? {}
  return {
    ...(concurrency === undefined ? {} : { concurrency }),
    ...(environmentVariables ? { proxyMetadata: environmentVariables } : {}),
    ...(image ? { image } : {}),
  }
}

/** What annotations say, read once for each: a proxy's are asked for with every change of the mesh. */
const read = new WeakMap<object, { text: string; config: Json }>()

function fromAnnotation(annotations: ProxyWorkload['annotations']): Json {
  const text = annotations['proxy.istio.io/config']
  if (!text) return {}
  const known = read.get(annotations)
  if (known?.text === text) return known.config
  const config = parsed(text)
  read.set(annotations, { text, config })
  return config
}

function parsed(text: string): Json {
  try {
    const given = parse(text)
    return given && typeof given === 'object' && !Array.isArray(given) ? given : {}
  } catch {
    return {}
  }
}

const merged = (under: Json, over: Json): Json => ({
  ...under,
  ...over,
  ...(under.proxyMetadata || over.proxyMetadata
    ? { proxyMetadata: { ...under.proxyMetadata, ...over.proxyMetadata } }
    : {}),
})
