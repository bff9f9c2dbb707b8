// What Istio refuses in its own kinds (istio: pkg/config/validation), in its wording. Pure.

import type { FieldError, Json } from '#api'
import { shapeProblems } from '../schema/shape.ts'
import { destinationRule } from './destination-rule.ts'
import { gateway } from './gateway.ts'
import { authorizationPolicy, envoyFilter, peerAuthentication, requestAuthentication, targeted } from './policies.ts'
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
  Telemetry: targeted,
  WasmPlugin: targeted,
}

/** What an object is refused for: what its definition rules out, else what Istio does. */
export function admitIstio(kind: string, spec: Json): FieldError[] {
  const broken = brokenRules(kind, spec)
  return broken.length > 0 ? broken : validateIstio(kind, spec)
}

/** Problems of an Istio object's spec; empty for kinds that are not looked into. */
export function validateIstio(kind: string, spec: Json): FieldError[] {
  const misshapen = shapeProblems(kind, spec)
  if (misshapen.length > 0) return misshapen
  const problems = new Problems()
  CHECKS[kind]?.(spec, problems)
  return problems.found
}
