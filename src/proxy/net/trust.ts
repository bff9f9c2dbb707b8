// Whether a client's certificate is signed by one of those that count, where whoever is not is let in all the same.
//
// Node's own check is of no use there: a signature that does not fit leaves an error behind in OpenSSL, which ends
// the connection at its first read, although nobody was to be rejected.

import { X509Certificate } from 'node:crypto'

/** As many certificates may stand between a client's own and an authority's. */
const DEPTH = 8
/** Extended key usage (RFC 5280, 4.2.1.12): authentication of clients, and anything. */
const PURPOSES = ['1.3.6.1.5.5.7.3.2', '2.5.29.37.0']

/** The certificates of a PEM text. Fails with what cannot be read. */
export function certificatesOf(pem: string): X509Certificate[] {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? []
  return blocks.map((block) => new X509Certificate(block))
}

/** Whether a certificate is a client's, valid now, and signed by one of `authorities`, directly or by those between. */
export function isSignedBy(client: X509Certificate, authorities: readonly X509Certificate[], now: Date): boolean {
  if (client.keyUsage && !client.keyUsage.some((use) => PURPOSES.includes(use))) return false
  let subject = client
  for (let i = 0; i <= DEPTH; i++) {
    if (!isValid(subject, now)) return false
    if (authorities.some((a) => isIssuer(a, subject) && isValid(a, now))) return true
    const next = subject.issuerCertificate
    if (!next?.ca || next.fingerprint256 === subject.fingerprint256 || !isIssuer(next, subject)) return false
    subject = next
  }
  return false
}

const isValid = (c: X509Certificate, now: Date) => new Date(c.validFrom) <= now && now <= new Date(c.validTo)
const isIssuer = (issuer: X509Certificate, of: X509Certificate) => of.checkIssued(issuer) && of.verify(issuer.publicKey)
