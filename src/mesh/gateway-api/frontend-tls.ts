// What a Gateway asks of its clients' certificates, by port or for all (GEP-91, spec.tls.frontend). Pure.

import type { Json, KubeObject } from '#api'
import { type FrontendTls, type GatewayApiView, type Problem, ungranted } from './view.ts'

/** What is asked of the clients of a port; undefined where nothing is. */
export function frontendTls(
  view: GatewayApiView,
  gateway: KubeObject,
  port: number,
): { tls: FrontendTls } | { problem: Problem } | undefined {
  const frontend: Json = gateway.spec?.tls?.frontend ?? {}
  const own = ((frontend.perPort ?? []) as Json[]).find((p) => p.port === port)
  const validation: Json | undefined = (own ? own.tls : frontend.default)?.validation
  if (!validation) return undefined
  const refs: Json[] = validation.caCertificateRefs ?? []
  // Nobody could be checked: that must not mean that everybody may come in.
  if (refs.length === 0)
    return {
      problem: {
        reason: 'InvalidCACertificateRef',
        message: 'certificates of clients are asked for, but caCertificateRefs names no authority',
      },
    }
  const authorities: string[] = []
  for (const ref of refs) {
    const found = authorityOf(view, gateway, ref)
    if ('problem' in found) return found
    authorities.push(found.pem)
  }
  const mode = validation.mode === 'AllowInsecureFallback' ? 'OPTIONAL_MUTUAL' : 'MUTUAL'
  return { tls: { mode, authorities: authorities.join('\n') } }
}

function authorityOf(view: GatewayApiView, gateway: KubeObject, ref: Json): { pem: string } | { problem: Problem } {
  const { group = '', kind = 'ConfigMap', name, namespace = gateway.metadata.namespace ?? '' } = ref
  if (group !== '' || (kind !== 'ConfigMap' && kind !== 'Secret'))
    return {
      problem: {
        reason: 'InvalidCACertificateKind',
        message: `invalid CA certificate reference ${[group, kind, name].filter(Boolean).join('/')}; only ConfigMaps and Secrets are supported`,
      },
    }
  const refused = ungranted(view, gateway, { group, kind, namespace, name }, 'caCertificateRef')
  if (refused) return { problem: refused }
  const data = (kind === 'ConfigMap' ? view.configMap(namespace, name) : view.secret(namespace, name))?.data
  const text: string | undefined = data?.['ca.crt'] ?? data?.cacert
  const pem = text !== undefined && kind === 'Secret' ? Buffer.from(text, 'base64').toString() : text
  if (!pem?.includes('-----BEGIN CERTIFICATE-----'))
    return {
      problem: {
        reason: 'InvalidCACertificateRef',
        message: `invalid CA certificate reference ${namespace}/${name}, there is no ${kind} with a certificate under ca.crt`,
      },
    }
  return { pem }
}
