// TLS that a proxy begins: a DestinationRule's tls as a transport socket. Pure (networking/v1, ClientTLSSettings).

import type { Json } from '#api'
import { packAny, UpstreamTlsContext } from '#api/xds'
import type { Message } from '#wire'
import { GATEWAY_NAME } from '../model/gateway-labels.ts'
import { isWildcard } from '../model/host.ts'
import { isHttp, type Protocol } from '../model/protocol.ts'
import type { MeshService } from '../model/service.ts'
import type { Place } from './place.ts'
import { ADS, SYSTEM_ROOTS } from './sds.ts'

export interface UpstreamTls {
  /** The transport socket. */
  readonly socket: Message
  /** What of the request's host counts: as the server's name, and as the one its certificate must bear. */
  readonly options: Message
  /** The authorities that every machine trusts are the ones that count. */
  readonly systemRoots: boolean
}

/**
 * TLS to a service; undefined where none is begun. Between workloads of the mesh (ISTIO_MUTUAL) none is: their
 * certificates are the mesh's own affair, not a rule's.
 */
export function upstreamTls(
  place: Place,
  service: MeshService,
  tls: Json | undefined,
  protocol: Protocol,
): UpstreamTls | undefined {
  const mode = tls?.mode ?? 'DISABLE'
  if (!tls || mode === 'DISABLE' || mode === 'ISTIO_MUTUAL') return undefined
  const sni = tls.sni || (isWildcard(service.host) ? '' : service.host)
  const secret = tls.credentialName ? credentialName(place, tls.credentialName) : undefined
  const trust = authorityOf(tls, secret)
  const names: string[] = tls.subjectAltNames ?? service.object.spec?.subjectAltNames ?? []
  const named = isHttp(protocol) && !tls.sni
  const byHost = named && names.length === 0
  const check: Message | undefined = tls.insecureSkipVerify
    ? undefined
    : {
        match_typed_subject_alt_names: (names.length > 0 || byHost || !sni ? names : [sni]).flatMap((exact) => [
          { san_type: exact.includes('://') ? URI : DNS, matcher: { exact } },
        ]),
      }
  const authority: Message = tls.caCertificates
    ? { trusted_ca: { filename: tls.caCertificates }, ...(tls.caCrl ? { crl: { filename: tls.caCrl } } : {}) }
    : { trusted_ca: { inline_string: tls.caPem } }
  const shown = gatewayCertificate(place, tls)
  const own = mode === 'MUTUAL'
  const sds = (name: string) => ({ name, sds_config: ADS })
  return {
    options: {
      ...(named ? { auto_sni: true } : {}),
      ...(byHost && !tls.insecureSkipVerify ? { auto_san_validation: true } : {}),
    },
    systemRoots: check !== undefined && trust === SYSTEM_ROOTS,
    socket: {
      name: 'envoy.transport_sockets.tls',
      typed_config: packAny(UpstreamTlsContext, {
        ...(named ? {} : { sni }),
        common_tls_context: {
          tls_params: { tls_minimum_protocol_version: TLS_12, tls_maximum_protocol_version: TLS_13 },
          ...(protocol === 'http2' ? { alpn_protocols: ['h2'] } : {}),
          ...(shown
            ? { tls_certificate_sds_secret_configs: [sds(`kubernetes://${shown}`)] }
            : own && secret
              ? { tls_certificate_sds_secret_configs: [sds(secret)] }
              : {}),
          ...(own && !secret && tls.clientCertificate
            ? {
                tls_certificates: [
                  {
                    certificate_chain: { filename: tls.clientCertificate },
                    private_key: { filename: tls.privateKey },
                  },
                ],
              }
            : {}),
          ...(check && trust
            ? {
                combined_validation_context: {
                  default_validation_context: check,
                  validation_context_sds_secret_config: sds(trust),
                },
              }
            : check
              ? { validation_context: { ...check, ...authority } }
              : {}),
        },
      }),
    },
  }
}

/** The secret whose authorities are trusted; undefined where they stand in the cluster itself, as a file's name or a text. */
function authorityOf(tls: Json, secret: string | undefined): string | undefined {
  if (tls.caPem === '') return NOBODY
  if (secret) return `${secret}-cacert`
  return tls.caCertificates || tls.caPem ? undefined : SYSTEM_ROOTS
}

/** An authority that cannot be had: a secret that never comes (Istio's name for it), so that nothing is sent. */
const NOBODY = 'invalid://'

/** SubjectAltNameMatcher.SanType. */
const TLS_12 = 3
const TLS_13 = 4
const DNS = 2
const URI = 3

/** The name of a Secret as proxies ask for it: gateways of their own namespace, others likewise. */
export const credentialName = (place: Place, name: string) => `kubernetes://${place.node.namespace}/${name}`

/** The Secret, "namespace/name", whose certificate this proxy's Gateway shows to backends it was given TLS for. */
export const gatewayCertificate = (place: Place, tls: Json | undefined): string | undefined =>
  tls?.gatewayCertificates?.[`${place.node.namespace}/${place.node.labels[GATEWAY_NAME]}`]
