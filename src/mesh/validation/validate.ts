// What Istio refuses in its own kinds (istio: pkg/config/validation), in its wording. Pure.

import type { FieldError, Json, KubeInput } from '#api'
import { shapeProblems } from '../schema/shape.ts'
import { authorizationPolicy } from './authorization-policy.ts'
import { destinationRule } from './destination-rule.ts'
import { gateway } from './gateway.ts'
import { envoyFilter, peerAuthentication, requestAuthentication, targeted, telemetry } from './policies.ts'
import { type Check, Problems } from './problems.ts'
import { brokenRules } from './rules.ts'
import { serviceEntry, workloadEntry, workloadGroup } from './service-entry.ts'
import { sidecar } from './sidecar.ts'
import { virtualService } from './virtual-service.ts'

const CHECKS: Readonly<Record<string, Check>> = {
  VirtualService: virtualService,
  DestinationRule: destinationRule,
  Gateway: gateway,
  ServiceEntry: serviceEntry,
  Sidecar: sidecar,
  WorkloadEntry: workloadEntry,
  WorkloadGroup: workloadGroup,
  EnvoyFilter: envoyFilter,
  AuthorizationPolicy: authorizationPolicy,
  PeerAuthentication: peerAuthentication,
  RequestAuthentication: requestAuthentication,
  Telemetry: telemetry,
  WasmPlugin: targeted,
  TrafficExtension: targeted,
}

/** What an object is refused for: what its definition rules out, else what Istio does. */
export function admitIstio({ kind = '', metadata, spec = {} }: KubeInput): FieldError[] {
  const broken = brokenRules(kind, spec)
  return broken.length > 0 ? broken : [...dryRun(kind, metadata, spec), ...validateIstio(kind, spec)]
}

const DRY_RUN = 'istio.io/dry-run'

/** Only an AuthorizationPolicy can be tried without effect, and only one that allows or denies. */
function dryRun(kind: string, { name, namespace, annotations }: KubeInput['metadata'], spec: Json): FieldError[] {
  const value = annotations?.[DRY_RUN]
  const refuse = (message: string): FieldError[] => [
    { path: 'metadata.annotations', reason: 'FieldValueInvalid', message },
  ]
  if (value === undefined) return []
  if (kind !== 'AuthorizationPolicy')
    return refuse(`${namespace}/${name} has unsupported annotation ${DRY_RUN}, please remove the annotation`)
  if (!/^([01tTfF]|true|false|TRUE|FALSE|True|False)$/.test(value))
    return refuse(
      `${namespace}/${name} has annotation ${DRY_RUN} with invalid value (${value}): true or false is wanted`,
    )
  const { action = 'ALLOW' } = spec
  return action === 'ALLOW' || action === 'DENY'
    ? []
    : refuse(
        `the annotation ${DRY_RUN} currently only supports action ALLOW/DENY, found action ${action} in ${namespace}/${name}`,
      )
}

/** What Istio's webhook warns of in an object that it takes. */
export function istioWarnings({ kind = '', spec = {} }: KubeInput): string[] {
  const problems = new Problems()
  CHECKS[kind]?.(spec, problems)
  return problems.warnings
}

/** Problems of an Istio object's spec; empty for kinds that are not looked into. */
export function validateIstio(kind: string, spec: Json): FieldError[] {
  const misshapen = shapeProblems(kind, spec)
  if (misshapen.length > 0) return misshapen
  const problems = new Problems()
  CHECKS[kind]?.(spec, problems)
  return problems.found
}
