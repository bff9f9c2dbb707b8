// The kinds of objects that analysis looks at.

import { type Resource, resources } from '#api'

/** The mesh's own rules and what they are held against. */
export const HELD_TOGETHER: readonly Resource[] = [
  resources.services,
  resources.pods,
  resources.namespaces,
  resources.secrets,
  resources.deployments,
  resources.statefulSets,
  resources.daemonSets,
  resources.virtualServices,
  resources.destinationRules,
  resources.gateways,
  resources.serviceEntries,
  resources.workloadEntries,
  resources.sidecars,
  resources.envoyFilters,
  resources.k8sGateways,
  resources.requestAuthentications,
]

/** All that is analyzed. */
export const ANALYZED: readonly Resource[] = [
  ...HELD_TOGETHER,
  resources.httpRoutes,
  resources.grpcRoutes,
  resources.authorizationPolicies,
  resources.peerAuthentications,
  resources.telemetries,
  resources.proxyConfigs,
  resources.configMaps,
  resources.customResourceDefinitions,
  resources.mutatingWebhookConfigurations,
  resources.validatingWebhookConfigurations,
]
