// Certificates: a certificate authority, and server and client certificates signed by it.

import { createHash, randomBytes, webcrypto } from 'node:crypto'

/** A key pair in PEM. */
export interface KeyPair {
  readonly cert: string
  readonly key: string
}

export interface LeafOptions {
  commonName: string
  organizations?: readonly string[]
  dnsNames?: readonly string[]
  ips?: readonly string[]
  uris?: readonly string[]
  usage: 'server' | 'client' | 'both'
  days?: number
}

const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const
const DAY = 86_400_000

// Loaded on first use: certificates are made once in a cluster's life.
async function x509() {
  await import('reflect-metadata')
  const lib = await import('@peculiar/x509')
  lib.cryptoProvider.set(webcrypto as never)
  return lib
}

/** Makes a self-signed CA, valid ten years. */
export async function createAuthority(commonName: string): Promise<KeyPair> {
  const lib = await x509()
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const cert = await lib.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    name: `CN=${escapeName(commonName)}`,
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + 3650 * DAY),
    signingAlgorithm: ALGORITHM,
    keys: keys as webcrypto.CryptoKeyPair,
    extensions: [
      new lib.BasicConstraintsExtension(true, undefined, true),
      new lib.KeyUsagesExtension(
        lib.KeyUsageFlags.keyCertSign | lib.KeyUsageFlags.cRLSign | lib.KeyUsageFlags.digitalSignature,
        true,
      ),
      await lib.SubjectKeyIdentifierExtension.create(keys.publicKey as webcrypto.CryptoKey),
    ],
  })
  return { cert: `${cert.toString('pem')}\n`, key: await exportKey(keys.privateKey as webcrypto.CryptoKey) }
}

/** Signs a certificate for a new key. */
export async function issue(authority: KeyPair, options: LeafOptions): Promise<KeyPair> {
  const lib = await x509()
  const keys = await webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify'])
  const issuer = new lib.X509Certificate(authority.cert)
  const signingKey = await importKey(authority.key)
  const names = [
    ...(options.dnsNames ?? []).map((value) => ({ type: 'dns' as const, value })),
    ...(options.ips ?? []).map((value) => ({ type: 'ip' as const, value })),
    ...(options.uris ?? []).map((value) => ({ type: 'url' as const, value })),
  ]
  const usages: string[] = []
  if (options.usage !== 'client') usages.push(lib.ExtendedKeyUsage.serverAuth)
  if (options.usage !== 'server') usages.push(lib.ExtendedKeyUsage.clientAuth)
  const cert = await lib.X509CertificateGenerator.create({
    serialNumber: serial(),
    subject: [
      ...(options.organizations ?? []).map((o) => `O=${escapeName(o)}`),
      `CN=${escapeName(options.commonName)}`,
    ].join(', '),
    issuer: issuer.subject,
    notBefore: new Date(Date.now() - 3_600_000),
    notAfter: new Date(Date.now() + (options.days ?? 365) * DAY),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey as webcrypto.CryptoKey,
    signingKey,
    extensions: [
      new lib.BasicConstraintsExtension(false, undefined, true),
      new lib.KeyUsagesExtension(lib.KeyUsageFlags.digitalSignature | lib.KeyUsageFlags.keyEncipherment, true),
      new lib.ExtendedKeyUsageExtension(usages),
      await lib.AuthorityKeyIdentifierExtension.create(issuer),
      ...(names.length > 0 ? [new lib.SubjectAlternativeNameExtension(names)] : []),
    ],
  })
  return { cert: `${cert.toString('pem')}\n`, key: await exportKey(keys.privateKey as webcrypto.CryptoKey) }
}

/** SHA-256 of a text, hex. */
export function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

function serial(): string {
  return `01${randomBytes(15).toString('hex')}`
}

function escapeName(value: string): string {
  return value.replace(/[,+"\\<>;]/g, (c) => `\\${c}`)
}

async function exportKey(key: webcrypto.CryptoKey): Promise<string> {
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)).toString('base64')
  return `-----BEGIN PRIVATE KEY-----\n${der.replace(/(.{64})/g, '$1\n').trimEnd()}\n-----END PRIVATE KEY-----\n`
}

async function importKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = Buffer.from(pem.replace(/-----[^-]+-----/g, ''), 'base64')
  return (await webcrypto.subtle.importKey('pkcs8', der, ALGORITHM, false, ['sign'])) as webcrypto.CryptoKey
}
