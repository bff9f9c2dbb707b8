// VirtualServices as translation uses them: hosts and gateways in full, delegates put in place. Pure.

import type { Json, KubeObject } from '#api'
import { resolveHost } from './host.ts'
import { byAge } from './view.ts'
import { isExported } from './visibility.ts'

/** A VirtualService, ready for translation. */
export interface VirtualService {
  readonly object: KubeObject
  readonly namespace: string
  /** In full; may be patterns. */
  readonly hosts: readonly string[]
  /** "mesh", or "namespace/name". */
  readonly gateways: readonly string[]
  readonly exportTo: readonly string[] | undefined
  readonly http: readonly Json[]
  readonly tls: readonly Json[]
  readonly tcp: readonly Json[]
}

const NAMES = ['hosts', 'gateways', 'exportTo'] as const

/** A gateway's name as a rule writes it: short, with its namespace, or as a host name. */
export function gatewayName(name: string, namespace: string): string {
  if (name === 'mesh' || name.includes('/')) return name
  const [gateway, other] = name.split('.')
  return `${other ?? namespace}/${gateway}`
}

/** All rules that have hosts, oldest first, with what they delegate to others. */
export function virtualServices(
  objects: readonly KubeObject[],
  defaultExport: readonly string[],
): readonly VirtualService[] {
  const byName = new Map(objects.map((o) => [`${o.metadata.namespace}/${o.metadata.name}`, o]))
  return [...objects]
    .filter((o) => o.spec?.hosts?.length)
    .sort(byAge)
    .map((object) => {
      const namespace = object.metadata.namespace ?? ''
      const [hosts, gateways, exportTo] = NAMES.map((n) => (object.spec[n] ?? []) as string[])
      return {
        object,
        namespace,
        hosts: hosts!.map((h) => resolveHost(h, namespace)),
        gateways: (gateways!.length > 0 ? gateways! : ['mesh']).map((g) => gatewayName(g, namespace)),
        exportTo: exportTo!.length > 0 ? exportTo : defaultExport,
        http: ((object.spec.http ?? []) as Json[]).flatMap((route) =>
          route.delegate ? delegated(route, namespace, byName, defaultExport) : [route],
        ),
        tls: object.spec.tls ?? [],
        tcp: object.spec.tcp ?? [],
      }
    })
}

/** The routes a route delegates to: those of the other rule, narrowed by the match of this one. */
function delegated(
  root: Json,
  namespace: string,
  byName: ReadonlyMap<string, KubeObject>,
  defaultExport: readonly string[],
): Json[] {
  const owner = root.delegate.namespace || namespace
  const other = byName.get(`${owner}/${root.delegate.name}`)
  // One that has hosts is a rule of its own; what is not exported here is as if it were not there.
  if (!other || other.spec?.hosts?.length) return []
  const exportTo: readonly string[] = other.spec?.exportTo?.length ? other.spec.exportTo : defaultExport
  if (!isExported(exportTo, owner, namespace)) return []
  return ((other.spec?.http ?? []) as Json[]).flatMap((leaf) => {
    const match = mergeMatches(root.match, leaf.match)
    if (match === undefined) return []
    const { delegate: _, ...outer } = root
    const name = [root.name, leaf.name].filter(Boolean).join('-')
    // Hosts are short names of the namespace that the leaf is in.
    return [{ ...outer, ...leaf, ...(match.length > 0 ? { match } : {}), ...(name ? { name } : {}), namespace: owner }]
  })
}

/**
 * Every pair of conditions of which the leaf's is a part of the root's; undefined when one of the leaf's is part of
 * none: its route has no effect then (networking/v1, HTTPRoute.delegate).
 */
function mergeMatches(root: Json[] | undefined, leaf: Json[] | undefined): Json[] | undefined {
  if (!root?.length) return leaf ?? []
  if (!leaf?.length) return root
  const merged = leaf.map((l) => root.filter((r) => !contradict(r, l)).map((r) => mergeMatch(r, l)))
  return merged.some((of) => of.length === 0) ? undefined : merged.flat()
}

const MAPS = ['headers', 'queryParams', 'withoutHeaders', 'sourceLabels'] as const
const TEXTS = ['uri', 'scheme', 'method', 'authority'] as const

function mergeMatch(root: Json, leaf: Json): Json {
  const merged: Json = { ...root, ...leaf }
  for (const key of MAPS) if (root[key] || leaf[key]) merged[key] = { ...root[key], ...leaf[key] }
  const name = [root.name, leaf.name].filter(Boolean).join('-')
  if (name) merged.name = name
  return merged
}

function contradict(root: Json, leaf: Json): boolean {
  if (Boolean(root.ignoreUriCase) !== Boolean(leaf.ignoreUriCase) && root.uri && leaf.uri) return true
  if (root.gateways?.length && (leaf.gateways as string[] | undefined)?.some((g) => !root.gateways.includes(g)))
    return true
  if (root.port && leaf.port && root.port !== leaf.port) return true
  if (root.sourceNamespace && leaf.sourceNamespace && root.sourceNamespace !== leaf.sourceNamespace) return true
  if (TEXTS.some((key) => notWithin(root[key], leaf[key]))) return true
  for (const key of ['headers', 'queryParams', 'withoutHeaders'] as const)
    if (Object.keys(root[key] ?? {}).some((k) => leaf[key]?.[k] && notWithin(root[key][k], leaf[key][k]))) return true
  return Object.entries(root.sourceLabels ?? {}).some(
    ([k, v]) => leaf.sourceLabels?.[k] !== undefined && leaf.sourceLabels[k] !== v,
  )
}

/** True when what the leaf matches is not known to be a part of what the root does. */
function notWithin(root: Json | undefined, leaf: Json | undefined): boolean {
  if (!root || !leaf) return false
  if (root.regex !== undefined) return true
  if (root.exact !== undefined) return leaf.exact !== root.exact
  if (root.prefix === undefined) return false
  const text = leaf.exact ?? leaf.prefix
  return text === undefined || !String(text).startsWith(root.prefix)
}
