export { DnsServer } from './dns-server.ts'
export { type DnsSource, resolveName, reverse } from './resolve.ts'
