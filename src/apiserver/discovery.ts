// Discovery: which groups, versions and resources are served, plain and aggregated.

import { groupVersion, type Json, type KindRegistry, type ResourceKind } from '#api'

/** Groups in the order clients prefer them: built-in before custom. */
const GROUP_ORDER = [
  '',
  'apiregistration.k8s.io',
  'apps',
  'events.k8s.io',
  'authentication.k8s.io',
  'authorization.k8s.io',
  'autoscaling',
  'batch',
  'certificates.k8s.io',
  'networking.k8s.io',
  'policy',
  'rbac.authorization.k8s.io',
  'storage.k8s.io',
  'admissionregistration.k8s.io',
  'apiextensions.k8s.io',
  'scheduling.k8s.io',
  'coordination.k8s.io',
  'node.k8s.io',
  'discovery.k8s.io',
  'flowcontrol.apiserver.k8s.io',
  'resource.k8s.io',
  // Last: names found in today's groups are never taken from here.
  'extensions',
]

/** Versions of a group, the preferred one first: stable before beta before alpha, higher first. */
function versionsOf(registry: KindRegistry, group: string): string[] {
  const versions = [
    ...new Set(
      registry
        .all()
        .filter((k) => k.group === group)
        .map((k) => k.version),
    ),
  ]
  return versions.sort((a, b) => versionRank(b) - versionRank(a))
}

function versionRank(version: string): number {
  const m = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version)
  if (!m) return -1
  const stage = m[2] === 'alpha' ? 1 : m[2] === 'beta' ? 2 : 3
  return stage * 1_000_000 + Number(m[1]) * 1000 + Number(m[3] ?? 0)
}

function groupsOf(registry: KindRegistry): string[] {
  const groups = [...new Set(registry.all().map((k) => k.group))]
  const rank = (g: string) => {
    const i = GROUP_ORDER.indexOf(g)
    return i < 0 ? GROUP_ORDER.length : i
  }
  return groups.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b))
}

/** The answer to a discovery path, or undefined for another path. */
export function discovery(
  path: string,
  registry: KindRegistry,
  aggregated: string | undefined,
  address: string,
): Json | undefined {
  const parts = path.split('/').filter(Boolean)
  if (parts[0] === 'api') {
    if (parts.length === 1)
      return aggregated
        ? aggregatedList(registry, [''], aggregated)
        : {
            kind: 'APIVersions',
            versions: ['v1'],
            serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: address }],
          }
    if (parts.length === 2 && registry.hasVersion('', parts[1]!)) return resourceList(registry, '', parts[1]!)
    return undefined
  }
  if (parts[0] !== 'apis') return undefined
  const groups = groupsOf(registry).filter(Boolean)
  if (parts.length === 1)
    return aggregated
      ? aggregatedList(registry, groups, aggregated)
      : { kind: 'APIGroupList', apiVersion: 'v1', groups: groups.map((g) => group(registry, g)) }
  if (parts.length === 2 && groups.includes(parts[1]!))
    return { kind: 'APIGroup', apiVersion: 'v1', ...group(registry, parts[1]!) }
  if (parts.length === 3 && registry.hasVersion(parts[1]!, parts[2]!))
    return resourceList(registry, parts[1]!, parts[2]!)
  return undefined
}

function group(registry: KindRegistry, name: string): Json {
  const versions = versionsOf(registry, name).map((version) => ({ groupVersion: `${name}/${version}`, version }))
  return { name, versions, preferredVersion: versions[0] }
}

function subresourceKind(kind: ResourceKind, name: string): { group: string; version: string; kind: string } {
  switch (name) {
    case 'scale':
      return { group: 'autoscaling', version: 'v1', kind: 'Scale' }
    case 'eviction':
      return { group: 'policy', version: 'v1', kind: 'Eviction' }
    case 'token':
      return { group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest' }
    case 'binding':
      return { group: '', version: 'v1', kind: 'Binding' }
    case 'exec':
      return { group: '', version: 'v1', kind: 'PodExecOptions' }
    case 'attach':
      return { group: '', version: 'v1', kind: 'PodAttachOptions' }
    case 'portforward':
      return { group: '', version: 'v1', kind: 'PodPortForwardOptions' }
    case 'proxy':
      return { group: '', version: 'v1', kind: `${kind.kind}ProxyOptions` }
    default:
      return { group: kind.group, version: kind.version, kind: kind.kind }
  }
}

function resourceList(registry: KindRegistry, groupName: string, version: string): Json {
  const list: Json[] = []
  for (const kind of registry.all()) {
    if (kind.group !== groupName || kind.version !== version) continue
    list.push({
      name: kind.plural,
      singularName: kind.singular,
      namespaced: kind.namespaced,
      kind: kind.kind,
      verbs: [...kind.verbs].sort(),
      ...(kind.shortNames.length > 0 ? { shortNames: kind.shortNames } : {}),
      ...(kind.categories.length > 0 ? { categories: kind.categories } : {}),
    })
    for (const sub of kind.subresources) {
      const target = subresourceKind(kind, sub.name)
      list.push({
        name: `${kind.plural}/${sub.name}`,
        singularName: '',
        namespaced: kind.namespaced,
        ...(target.group !== kind.group || target.version !== kind.version
          ? { group: target.group, version: target.version }
          : {}),
        kind: target.kind,
        verbs: [...sub.verbs].sort(),
      })
    }
  }
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: groupVersion({ group: groupName, version }),
    resources: list,
  }
}

function aggregatedList(registry: KindRegistry, groups: readonly string[], version: string): Json {
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map((name) => ({
      metadata: { name, creationTimestamp: null },
      versions: versionsOf(registry, name).map((v) => ({
        version: v,
        freshness: 'Current',
        resources: registry
          .all()
          .filter((k) => k.group === name && k.version === v)
          .map((kind) => ({
            resource: kind.plural,
            responseKind: { group: kind.group, version: kind.version, kind: kind.kind },
            scope: kind.namespaced ? 'Namespaced' : 'Cluster',
            singularResource: kind.singular,
            verbs: [...kind.verbs].sort(),
            ...(kind.shortNames.length > 0 ? { shortNames: kind.shortNames } : {}),
            ...(kind.categories.length > 0 ? { categories: kind.categories } : {}),
            ...(kind.subresources.length > 0
              ? {
                  subresources: kind.subresources.map((s) => ({
                    subresource: s.name,
                    responseKind: subresourceKind(kind, s.name),
                    verbs: [...s.verbs].sort(),
                  })),
                }
              : {}),
          })),
      })),
    })),
  }
}
