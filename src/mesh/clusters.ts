// Clusters and their endpoints: one cluster a port and subset of a Service.

import type { Json, KubeObject } from '#api'
import { ClusterType, HttpProtocolOptions, packAny, toStruct } from '#api/xds'
import type { Message } from '#wire'
import { ADS } from './chains.ts'
import { canonicalName, canonicalRevision, workloadOf } from './inject.ts'
import type { Protocol } from './protocol.ts'
import { clusterSettings, policyFor } from './traffic-policy.ts'
import { clusterName, fqdnOf, type MeshView, type XdsResources } from './view.ts'

export function httpOptions(protocol: Protocol): Message {
  const options =
    protocol === 'http2'
      ? { explicit_http_config: { http2_protocol_options: {} } }
      : protocol === 'auto'
        ? { use_downstream_protocol_config: {} }
        : { explicit_http_config: { http_protocol_options: {} } }
  return { 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': packAny(HttpProtocolOptions, options) }
}

export function addClusters(
  result: XdsResources,
  view: MeshView,
  service: KubeObject,
  port: Json,
  protocol: Protocol,
  rule: KubeObject | undefined,
): void {
  const host = fqdnOf(service)
  const subsets: Json[] = [{ name: '', labels: {} }, ...(rule?.spec?.subsets ?? [])]
  for (const subset of subsets) {
    const name = clusterName(port.port, subset.name, host)
    const policy = policyFor(rule, subset.name, port.port)
    result.clusters.set(name, {
      name,
      type: ClusterType.eds,
      eds_cluster_config: { eds_config: ADS, service_name: name },
      ...clusterSettings(policy),
      metadata: {
        filter_metadata: {
          istio: toStruct({ services: [{ host, name: service.metadata.name, namespace: service.metadata.namespace }] }),
        },
      },
      ...(protocol === 'tcp' ? {} : { typed_extension_protocol_options: httpOptions(protocol) }),
    })
    result.endpoints.set(name, {
      cluster_name: name,
      endpoints: [
        { lb_endpoints: endpointsOf(view, service, port, subset.labels ?? {}), load_balancing_weight: { value: 1 } },
      ],
    })
  }
}

/** Ready endpoints whose pod has the labels; without any, those that are going but still serve. */
function endpointsOf(view: MeshView, service: KubeObject, port: Json, labels: Record<string, string>): Message[] {
  const ready: Message[] = []
  const last: Message[] = []
  for (const slice of view.slices(service)) {
    const number = (slice.ports ?? []).find((p: Json) => (p.name ?? '') === (port.name ?? ''))?.port
    if (number === undefined) continue
    for (const e of (slice.endpoints ?? []) as Json[]) {
      const ip = e.addresses[0]
      const pod = view.podByIp(ip)
      if (!Object.entries(labels).every(([k, v]) => pod?.metadata.labels?.[k] === v)) continue
      const endpoint = {
        endpoint: { address: { socket_address: { address: ip, port_value: number } } },
        metadata: { filter_metadata: { istio: toStruct({ workload: workloadText(pod) }) } },
      }
      if (e.conditions?.ready !== false) ready.push(endpoint)
      else if (e.conditions?.serving && e.conditions?.terminating) last.push(endpoint)
    }
  }
  return ready.length > 0 ? ready : last
}

/** "workload;namespace;canonical name;revision;cluster", as Istio's telemetry reads it. */
function workloadText(pod: KubeObject | undefined): string {
  if (!pod) return ''
  const { name } = workloadOf(pod)
  return [
    name,
    pod.metadata.namespace,
    canonicalName(pod.metadata.labels, name),
    canonicalRevision(pod.metadata.labels),
    'Kubernetes',
  ].join(';')
}
