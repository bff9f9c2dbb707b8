// Probes and hooks that go through the sidecar's agent, so that they reach an application that takes only mTLS. Pure.

import type { Json } from '#api'

const AGENT_PORT = 15020
const KINDS = [
  ['readinessProbe', 'readyz'],
  ['livenessProbe', 'livez'],
  ['startupProbe', 'startupz'],
] as const

/** Rewrites the probes of containers in place; returns what the agent has to know to make them. */
export function rewriteProbes(containers: readonly Json[]): Record<string, Json> {
  const probers: Record<string, Json> = {}
  for (const container of containers) {
    const port = (given: number | string): number | undefined =>
      typeof given === 'number' ? given : container.ports?.find((p: Json) => p.name === given)?.containerPort
    for (const [field, path] of KINDS) {
      const probe: Json | undefined = container[field]
      const found = probe && translated(probe, port)
      if (!found) continue
      const at = `/app-health/${container.name}/${path}`
      probers[at] = { ...found, ...(probe.timeoutSeconds ? { timeoutSeconds: probe.timeoutSeconds } : {}) }
      const { httpGet: _, tcpSocket: __, grpc: ___, ...rest } = probe
      container[field] = { ...rest, httpGet: { path: at, port: AGENT_PORT } }
    }
    for (const [hook, path] of [
      ['postStart', 'poststartz'],
      ['preStop', 'prestopz'],
    ] as const) {
      const action: Json | undefined = container.lifecycle?.[hook]
      const found = action && translated(action, port)
      if (!found) continue
      const at = `/app-lifecycle/${container.name}/${path}`
      probers[at] = found
      container.lifecycle[hook] = { httpGet: { path: at, port: AGENT_PORT } }
    }
  }
  return probers
}

/** What a probe does, with its port as a number; undefined for one that is not made over the network. */
function translated(probe: Json, port: (given: number | string) => number | undefined): Json | undefined {
  const of = probe.httpGet ?? probe.tcpSocket ?? probe.grpc
  if (!of) return undefined
  const number = port(of.port)
  if (number === undefined || number === AGENT_PORT || number === 15021) return undefined
  if (probe.httpGet) return { httpGet: { ...probe.httpGet, port: number } }
  return probe.tcpSocket ? { tcpSocket: { port: number } } : { grpc: { ...probe.grpc, port: number } }
}
