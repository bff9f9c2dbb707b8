// The certificate that a Gateway shows to backends it speaks TLS with (spec.tls.backend, GEP-3155). Pure.

import type { Json, KubeObject } from '#api'
import { keyPair } from '../model/key-pair.ts'
import { type GatewayApiView, GROUP, isGranted, type Problem } from './view.ts'

/** The Secret with the certificate, "namespace/name"; or why it cannot be had; undefined where none is asked for. */
export function clientCertificate(
  view: GatewayApiView,
  gateway: KubeObject,
): { secret: string } | { problem: Problem } | undefined {
  const ref: Json | undefined = gateway.spec?.tls?.backend?.clientCertificateRef
  if (!ref) return undefined
  const own = gateway.metadata.namespace ?? ''
  const { group = '', kind = 'Secret', name, namespace = own } = ref
  const invalid = (message: string) => ({ problem: { reason: 'InvalidClientCertificateRef', message } })
  if (group !== '' || kind !== 'Secret')
    return invalid(
      `invalid client certificate reference ${[group, kind, name].filter(Boolean).join('/')}; only Secrets are supported`,
    )
  if (!isGranted(view, { group: GROUP, kind: 'Gateway', namespace: own }, { group, kind, namespace, name }))
    return {
      problem: {
        reason: 'RefNotPermitted',
        message: `clientCertificateRef ${namespace}/${name} not accessible to a Gateway in namespace ${JSON.stringify(own)} (missing a ReferenceGrant?)`,
      },
    }
  const pair = keyPair(view.secret(namespace, name))
  const isPem = (base64: string) => Buffer.from(base64, 'base64').toString('latin1').includes('-----BEGIN ')
  return pair && isPem(pair.chain) && isPem(pair.key)
    ? { secret: `${namespace}/${name}` }
    : invalid(
        `invalid client certificate reference ${namespace}/${name}, there is no Secret with a certificate and a key`,
      )
}
