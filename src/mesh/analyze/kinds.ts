// The kinds of objects that analysis looks at.

import { type Resource, resources } from '#api'

/** Objects that rules are held against, and those that are analyzed themselves. */
export const ANALYZED: readonly Resource[] = [
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
  resources.httpRoutes,
  resources.grpcRoutes,
  resources.authorizationPolicies,
  resources.peerAuthentications,
  resources.requestAuthentications,
  resources.telemetries,
  resources.proxyConfigs,
  resources.configMaps,
  resources.customResourceDefinitions,
  resources.mutatingWebhookConfigurations,
  resources.validatingWebhookConfigurations,
]
