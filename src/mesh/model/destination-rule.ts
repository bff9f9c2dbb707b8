// Which DestinationRule a client uses for a host: by namespace, by how narrow its host is; those of one are joined. Pure.

import type { Json, KubeObject } from '#api'
import { narrowest, resolveHost } from './host.ts'
import { byAge, matches } from './view.ts'
import { isExported } from './visibility.ts'

/** DestinationRules by the namespace they stand in and the host they are for. */
export type DestinationRules = ReadonlyMap<string, ReadonlyMap<string, readonly KubeObject[]>>

export function indexRules(objects: readonly KubeObject[]): DestinationRules {
  const index = new Map<string, Map<string, KubeObject[]>>()
  for (const object of [...objects].sort(byAge)) {
    const namespace = object.metadata.namespace ?? ''
    const host = resolveHost(object.spec?.host ?? '', namespace)
    const hosts = index.get(namespace) ?? new Map<string, KubeObject[]>()
    index.set(namespace, hosts)
    hosts.set(host, [...(hosts.get(host) ?? []), object])
  }
  return index
}

/** Who looks for a rule. */
export interface RuleClient {
  readonly namespace: string
  readonly labels: Readonly<Record<string, string>>
}

/**
 * The spec of the rule a client uses for a host: one of the client's namespace, else of the service's, else of the
 * root namespace (istio.io, "Cross namespace configuration"). Undefined without one.
 */
export function ruleFor(
  rules: DestinationRules,
  host: string,
  owner: string,
  client: RuleClient,
  root: string,
  defaultExport: readonly string[],
): Json | undefined {
  for (const namespace of new Set([client.namespace, owner, root])) {
    const found = narrowest(host, rules.get(namespace) ?? new Map<string, readonly KubeObject[]>())
    const usable = (found ?? []).filter((r) => {
      const selector = r.spec?.workloadSelector?.matchLabels
      if (selector && (namespace !== client.namespace || !matches(selector, client.labels))) return false
      const exportTo = r.spec?.exportTo?.length ? r.spec.exportTo : defaultExport
      return isExported(exportTo, namespace, client.namespace)
    })
    // What is meant for some workloads comes before what is for all.
    const special = usable.filter((r) => r.spec?.workloadSelector)
    const chosen = special.length > 0 ? special : usable
    if (chosen.length > 0) return joined(chosen)
  }
  return undefined
}

const joins = new WeakMap<KubeObject, { readonly of: readonly KubeObject[]; readonly spec: Json }>()

/** Rules of one namespace for one host: the oldest policy, the subsets of all. */
function joined(rules: readonly KubeObject[]): Json {
  const [first, ...rest] = rules
  if (rest.length === 0) return first!.spec
  const known = joins.get(first!)
  if (known?.of.length === rules.length && known.of.every((o, i) => o === rules[i])) return known.spec
  const subsets = new Map<string, Json>()
  for (const rule of rules)
    for (const s of (rule.spec?.subsets ?? []) as Json[]) if (!subsets.has(s.name)) subsets.set(s.name, s)
  const trafficPolicy = rules.find((r) => r.spec?.trafficPolicy)?.spec.trafficPolicy
  const spec = { ...first!.spec, ...(trafficPolicy ? { trafficPolicy } : {}), subsets: [...subsets.values()] }
  joins.set(first!, { of: rules, spec })
  return spec
}
