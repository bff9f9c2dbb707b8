// Analyzers of what belongs to a control plane: its webhooks, what it injects, networks, versions of definitions.

import { isIP } from 'node:net'
import { parse } from 'yaml'
import { type Json, type KubeObject, keyOf, labelSelector } from '#api'
import type { World } from './world.ts'

const REVISION = 'istio.io/rev'

/** Values of a revision that a webhook's selectors name. */
function revisionsOf(config: KubeObject, webhooks: readonly Json[]): string[] {
  const selectors = webhooks.flatMap((w) => [w.namespaceSelector, w.objectSelector])
  return [
    config.metadata.labels?.[REVISION],
    ...selectors.map((s) => s?.matchLabels?.[REVISION]),
    ...selectors.flatMap((s) =>
      ((s?.matchExpressions ?? []) as Json[]).filter((e) => e.key === REVISION).flatMap((e) => e.values ?? []),
    ),
  ].filter((r) => r !== undefined)
}

/** Webhooks that inject twice, or are answered by nobody (IST0139). */
export function webhooks(world: World): void {
  const found: { config: KubeObject; name: string; hook: Json }[] = []
  const revisions = new Set<string>()
  for (const config of world.of('MutatingWebhookConfiguration')) {
    const hooks: Json[] = (config as Json).webhooks ?? []
    // That of the default revision is there beside the others on purpose.
    if (config.metadata.labels?.[REVISION] === 'default' && config.metadata.labels['istio.io/tag'] === undefined)
      continue
    const own = revisionsOf(config, hooks)
    if (own.length === 0 && !hooks.some((h) => String(h.name).endsWith('istio.io'))) continue
    for (const r of own) revisions.add(r)
    for (const hook of hooks) found.push({ config, name: `${config.metadata.name}/${hook.name}`, hook })
  }
  const variants = (key: string, values: readonly string[]) => {
    const plain = [{}, ...values.map((v) => ({ [key]: v }))] as Record<string, string>[]
    return [...plain, ...[...revisions].flatMap((r) => plain.map((labels) => ({ ...labels, [REVISION]: r })))]
  }
  for (const namespace of variants('istio-injection', ['enabled', 'disabled']))
    for (const object of variants('sidecar.istio.io/inject', ['true', 'false'])) {
      const asked = found.filter(
        ({ hook }) =>
          labelSelector(hook.namespaceSelector ?? {})(namespace) && labelSelector(hook.objectSelector ?? {})(object),
      )
      if (asked.length < 2) continue
      for (const one of asked) {
        const others = asked.filter((o) => o !== one).map((o) => o.name)
        world.reportOnce(
          'WEBHOOK',
          one.config,
          `Webhook overlaps with others: [${others.sort().join(' ')}]. This may cause injection to occur twice.`,
        )
      }
    }
  for (const { config, hook } of found) {
    const service = hook.clientConfig?.service
    if (service && !world.get('Service', service.namespace, service.name))
      world.report(
        'WEBHOOK',
        config,
        `Injector refers to a control plane service that does not exist: ${service.namespace}/${service.name}.`,
      )
  }
}

/** Webhooks that lead to a control plane elsewhere (IST0163, IST0164). */
export function externalControlPlane(world: World): void {
  const look = (config: KubeObject) => {
    for (const { name, clientConfig = {} } of ((config as Json).webhooks ?? []) as Json[]) {
      const { url, service } = clientConfig
      const invalid = (why: string) =>
        world.report(
          'EXTERNAL_INVALID',
          config,
          `The hostname (${url ?? ''}) that was provided for the webhook (${name}) to reach the ingress gateway on the external control plane cluster ${why}. Traffic may not flow properly.`,
        )
      if (url === undefined) {
        if (!service) invalid('is blank')
        continue
      }
      const host = URL.canParse(url) ? new URL(url).hostname.replace(/^\[|\]$/g, '') : undefined
      if (host === undefined) invalid('was provided in an invalid format')
      else if (isIP(host))
        world.report(
          'EXTERNAL_ADDRESS',
          config,
          `The address (${url}) that was provided for the webhook (${name}) to reach the ingress gateway on the external control plane cluster is an IP address. This is not recommended for a production environment.`,
        )
    }
  }
  for (const config of world.of('ValidatingWebhookConfiguration'))
    if (config.metadata.name === 'istiod-default-validator' || config.metadata.name.startsWith('istio-validator'))
      look(config)
  for (const config of world.of('MutatingWebhookConfiguration'))
    if (config.metadata.name.startsWith('istio-sidecar-injector')) look(config)
}

/** The name of the ConfigMap that says what a revision injects. */
const injectorOf = (revision: string | undefined) =>
  revision && revision !== 'default' ? `istio-sidecar-injector-${revision}` : 'istio-sidecar-injector'

/** What a revision injects, as its ConfigMap says. */
function injectorValues(world: World, revision: string | undefined): Json | undefined {
  const map = world.get('ConfigMap', 'istio-system', injectorOf(revision))
  try {
    return map && JSON.parse(map.data?.values ?? '{}')
  } catch {
    return undefined
  }
}

/** True where namespaces without a label are injected. */
export const injectsByDefault = (world: World): boolean =>
  injectorValues(world, undefined)?.sidecarInjectorWebhook?.enableNamespacesByDefault === true

/** Pods whose proxy is not the one that is injected now (IST0158). */
export function proxyImages(world: World): void {
  for (const namespace of world.of('Namespace')) {
    const { name, labels = {} } = namespace.metadata
    const revision = labels[REVISION]
    if (labels['istio-injection'] !== 'enabled' && revision === undefined) continue
    const { global } = injectorValues(world, revision) ?? {}
    if (!global) continue
    const image = String(global.proxy?.image ?? '')
    const wanted = image.includes('/') ? image : `${global.hub}/${image}:${global.tag}`
    const others = world.in('Pod', name).filter((pod) => {
      const { annotations = {} } = pod.metadata
      if (annotations['sidecar.istio.io/proxyImage']) return false
      const proxies = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])].filter(
        (c: Json) => c.name === 'istio-proxy',
      )
      const variant = `${wanted}-${imageType(world, pod)}`
      return proxies.some((c: Json) => c.image !== wanted && c.image !== variant)
    })
    if (others.length > 0)
      world.report(
        'PROXY_IMAGES',
        namespace,
        `The Istio proxy images of the pods running in the namespace do not match the image defined in the injection configuration (pod names: [${others
          .map((p) => p.metadata.name)
          .sort()
          .join(
            ' ',
          )}]). This often happens after upgrading the Istio control-plane and can be fixed by redeploying the pods.`,
      )
  }
}

/** The variant of the image that is asked for by a pod, its ProxyConfigs or the mesh's configuration. */
function imageType(world: World, pod: KubeObject): string {
  const own = pod.metadata.annotations?.['proxy.istio.io/config']
  try {
    const type = own && parse(own)?.image?.imageType
    if (type) return type
  } catch {
    // What cannot be read is reported elsewhere.
  }
  const config = world
    .of('ProxyConfig')
    .find((c) => [pod.metadata.namespace, 'istio-system'].includes(c.metadata.namespace) && c.spec?.image?.imageType)
  if (config) return config.spec.image.imageType
  try {
    const mesh = world.get('ConfigMap', 'istio-system', 'istio')?.data?.mesh
    return (mesh && parse(mesh)?.defaultConfig?.image?.imageType) ?? ''
  } catch {
    return ''
  }
}

/** Networks of registries nobody knows (IST0126). */
export function meshNetworks(world: World): void {
  const known = new Set(['Mock', 'Kubernetes', 'External'])
  for (const secret of world.of('Secret'))
    if (secret.metadata.labels?.['istio/multiCluster'] === 'true')
      for (const name of Object.keys(secret.data ?? {})) known.add(name)
  const map = world.get('ConfigMap', 'istio-system', 'istio')
  if (!map?.data?.meshNetworks) return
  let networks: Json = {}
  try {
    networks = parse(map.data.meshNetworks)?.networks ?? {}
  } catch {
    return
  }
  for (const [network, of] of Object.entries(networks) as [string, Json | null][])
    for (const endpoint of Array.isArray(of?.endpoints) ? (of.endpoints as Json[]) : [])
      if (endpoint?.fromRegistry && !known.has(endpoint.fromRegistry))
        world.report(
          'UNKNOWN_REGISTRY',
          map,
          `Unknown service registry ${endpoint.fromRegistry} in network ${network}`,
          ['data', 'meshNetworks'],
        )
}

/** A control plane that fetches keys from wherever it is told to (IST0175). */
export function jwksFetches(world: World): void {
  const names = world.of('RequestAuthentication').map(keyOf)
  if (names.length === 0) return
  const more = names.length > 5 ? `, and ${names.length - 5} more` : ''
  for (const deployment of world.of('Deployment').filter((d) => d.metadata.labels?.app === 'istiod')) {
    const containers: Json[] = deployment.spec?.template?.spec?.containers ?? []
    const blocked = containers
      .flatMap((c) => (c.env ?? []) as Json[])
      .some((e) => e.name === 'BLOCKED_CIDRS_IN_JWKS_URIS' && e.value)
    if (!blocked)
      world.report(
        'JWKS_FETCHES',
        deployment,
        `BLOCKED_CIDRS_IN_JWKS_URIS is not configured but ${names.length} RequestAuthentication resource(s) exist (${names.slice(0, 5).join(', ')}${more}). Consider configuring it to restrict JWKS URI fetches to trusted networks.`,
      )
  }
}

/** The oldest bundles of the Gateway API whose kinds Istio reads. */
const OLDEST: Readonly<Record<string, readonly [number, number, number]>> = {
  'grpcroutes.gateway.networking.k8s.io': [1, 1, 0],
  'backendtlspolicies.gateway.networking.k8s.io': [1, 4, 0],
  'tlsroutes.gateway.networking.k8s.io': [1, 5, 0],
  'tcproutes.gateway.networking.k8s.io': [1, 6, 0],
}

/** Definitions of the Gateway API that are too old (IST0176). */
export function gatewayApiVersions(world: World): void {
  for (const definition of world.of('CustomResourceDefinition')) {
    const oldest = OLDEST[definition.metadata.name]
    const text = definition.metadata.annotations?.['gateway.networking.k8s.io/bundle-version'] ?? ''
    const parts = /^v?(\d+)\.(\d+)\.(\d+)/.exec(text)
    // Those that come with us are of the version we read.
    if (!oldest || !parts || definition.metadata.labels?.chart === 'istio') continue
    const installed = parts.slice(1, 4).map(Number)
    const at = installed.findIndex((n, i) => n !== oldest[i])
    if (at < 0 || installed[at]! > oldest[at]!) continue
    world.report(
      'OLD_DEFINITION',
      definition,
      `Gateway API CRD "${definition.metadata.name}" is at version "${text.replace(/^v/, '')}" but Istio requires at least "${oldest.join('.')}"; resources of this kind will not be processed. Upgrade the Gateway API CRDs to satisfy the minimum version.`,
    )
  }
}
