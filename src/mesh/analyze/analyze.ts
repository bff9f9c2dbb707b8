// Finds configuration that is wrong or cannot take effect, under Istio's analyzer codes. Pure.

import type { KubeObject } from '#api'
import { annotations } from './annotations.ts'
import * as controlPlane from './control-plane.ts'
import * as gateway from './gateway.ts'
import type { Level } from './messages.ts'
import * as policies from './policies.ts'
import { unreachable } from './reachability.ts'
import * as services from './services.ts'
import * as rules from './virtual-service.ts'
import * as workloads from './workloads.ts'
import { type Analyzer, type Finding, nameOf, World } from './world.ts'

export type { Finding } from './world.ts'

/** Analyzers of the mesh's own rules. */
const RULES: Readonly<Record<string, Analyzer>> = {
  'schema.ValidationAnalyzer': workloads.schemas,
  'virtualservice.DestinationHostAnalyzer': rules.references,
  'virtualservice.SubsetAnalyzer': rules.subsetsPassedBy,
  'virtualservice.GatewayAnalyzer': rules.gateways,
  'virtualservice.ConflictingMeshGatewayHostsAnalyzer': rules.conflictingHosts,
  'virtualservice.MatchesAnalyzer': unreachable,
  'destinationrule.Analyzer': rules.destinationRules,
  'gateway.ServingAnalyzer': gateway.serving,
  'gateway.ConflictingGatewayAnalyzer': gateway.conflicts,
  'gateway.CertificateAnalyzer': gateway.certificatesTwice,
  'serviceentry.Analyzer': services.serviceEntries,
  'sidecar.Analyzer': workloads.sidecars,
  'envoyfilter.EnvoyPatchAnalyzer': workloads.envoyFilters,
  'annotations.K8sAnalyzer': annotations,
  'deprecation.DeprecationAnalyzer': policies.deprecated,
  'virtualservice.JWTClaimRouteAnalyzer': policies.claims,
}

const ANALYZERS: Readonly<Record<string, Analyzer>> = {
  ...RULES,
  'service.PortNameAnalyzer': services.portNames,
  'deployment.ServiceAssociationAnalyzer': services.deploymentPorts,
  'injection.Analyzer': workloads.injection,
  'deployment.ApplicationUIDAnalyzer': workloads.applicationUid,
  'policy.SelectorAnalyzer': workloads.selectors,
  'telemetry.Analyzer': policies.telemetry,
  'webhook.Analyzer': controlPlane.webhooks,
  'externalcontrolplane.ExternalControlPlaneAnalyzer': controlPlane.externalControlPlane,
  'injection.ImageAnalyzer': controlPlane.proxyImages,
  'meshnetworks.MeshNetworksAnalyzer': controlPlane.meshNetworks,
  'authn.BlockedCIDRsAnalyzer': controlPlane.jwksFetches,
  'k8sgateway.CRDVersionAnalyzer': controlPlane.gatewayApiVersions,
  'auth.AuthorizationPoliciesAnalyzer': workloads.authorizationPolicies,
  'k8sgateway.SelectorAnalyzer': policies.gatewaySelectors,
  'conditions.ConditionAnalyzer': policies.conditions,
  'injection.ImageAutoAnalyzer': policies.imageAuto,
}

const LEVELS: readonly Level[] = ['Error', 'Warning', 'Info']
const SUPPRESS = 'galley.istio.io/analyze-suppress'

/** What is wrong with objects, the worst first; what an object's annotation suppresses is left out. */
export const analyzeObjects = (objects: readonly KubeObject[]): Finding[] => run(ANALYZERS, objects)

/** What is wrong with the mesh's own rules among them. */
export const analyzeRules = (objects: readonly KubeObject[]): Finding[] => run(RULES, objects)

function run(analyzers: Readonly<Record<string, Analyzer>>, objects: readonly KubeObject[]): Finding[] {
  const world = new World(objects)
  for (const analyze of Object.values(analyzers)) analyze(world)
  const suppressed = new Map(
    objects
      .filter((o) => o.metadata.annotations?.[SUPPRESS])
      .map((o) => [nameOf(o), o.metadata.annotations![SUPPRESS]!.split(',').map((s) => s.trim())]),
  )
  return world.findings
    .filter((f) => {
      const codes = suppressed.get(f.object)
      return !codes?.includes('*') && !codes?.includes(f.code)
    })
    .sort(
      (a, b) =>
        LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level) ||
        a.code.localeCompare(b.code) ||
        a.object.localeCompare(b.object),
    )
}

/** The names of the analyzers there are. */
export const analyzerNames: readonly string[] = Object.keys(ANALYZERS)

/** True when a level is at least as bad as a threshold. */
export const atLeast = (level: Level, threshold: Level): boolean => LEVELS.indexOf(level) <= LEVELS.indexOf(threshold)
