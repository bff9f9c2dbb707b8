// What Istio refuses in the settings of load balancers, in its wording. Pure.

import type { Json } from '#api'
import { narrowFirst } from '../model/topology.ts'
import type { Problems } from './problems.ts'

/** Labels that say where something is: what is near by them is known without being said. */
const TOPOLOGY = ['topology.kubernetes.io/region', 'topology.kubernetes.io/zone', 'topology.istio.io/subzone']
/** Maglev's table may not be as large as this. */
const TABLE_LIMIT = 5_000_011

/** Checks how a policy balances; `ejects` when it has an outlierDetection. */
export function loadBalancer(lb: Json | undefined, ejects: boolean, path: string, p: Problems): void {
  if (!lb) return
  p.check(!(lb.simple && lb.consistentHash), path, 'only one of simple and consistentHash may be set')
  if (lb.consistentHash) consistentHash(lb.consistentHash, `${path}.consistentHash`, p)
  const { localityLbSetting: locality, zoneAwareLbSetting: zones } = lb
  p.check(!(locality && zones), path, 'only one of localityLbSetting and zoneAwareLbSetting can be set')
  if (locality) localitySetting(locality, ejects, `${path}.localityLbSetting`, p)
  if (zones) zoneSetting(zones, ejects, `${path}.zoneAwareLbSetting`, p)
}

function consistentHash(hash: Json, path: string, p: Problems): void {
  const keys = ['httpHeaderName', 'httpCookie', 'useSourceIp', 'httpQueryParameterName'].filter((k) => hash[k])
  p.check(
    keys.length <= 1,
    path,
    'at most one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName may be set',
  )
  const { httpCookie: cookie, ringHash, maglev, minimumRingSize } = hash
  if (cookie) {
    p.check(cookie.name, `${path}.httpCookie.name`, 'name required for HttpCookie')
    const names = new Set<string>()
    for (const [i, { name }] of ((cookie.attributes ?? []) as Json[]).entries()) {
      const at = `${path}.httpCookie.attributes[${i}]`
      p.check(name, at, 'cookie attribute name cannot be empty')
      p.check(!name || !names.has(name), at, `duplicate cookie attribute name: ${name}`)
      names.add(name)
    }
  }
  p.check(!(ringHash && maglev), path, 'only one of ringHash and maglev may be set')
  p.warn(
    !minimumRingSize,
    "consistent hash MinimumRingSize is deprecated, use ConsistentHashLB's RingHash configuration instead",
  )
  p.check(
    !(minimumRingSize && (ringHash || maglev)),
    path,
    'only one of MinimumRingSize or Maglev/Ringhash can be specified',
  )
  if (!maglev) return
  const at = `${path}.maglev.tableSize`
  const size = Number(maglev.tableSize ?? 0)
  p.check(size !== 0, at, 'tableSize must be set for maglev')
  p.check(size < TABLE_LIMIT, at, `tableSize must be less than ${TABLE_LIMIT} for maglev`)
  p.check(size >= TABLE_LIMIT || isPrime(size), at, 'tableSize must be a prime number for maglev')
}

/** As Envoy's: 1 counts. */
function isPrime(n: number): boolean {
  if (n > 0 && n < 4) return true
  if (n % 2 === 0) return false
  for (let factor = 3; factor * factor <= n; factor += 2) if (n % factor === 0) return false
  return true
}

function localitySetting(setting: Json, ejects: boolean, path: string, p: Problems): void {
  const { distribute = [], failover = [], failoverPriority = [] } = setting
  if (distribute.length > 0 && failover.length > 0)
    return p.add(path, "can not simultaneously specify 'distribute' and 'failover'")
  const label = failover.length > 0 && (failoverPriority as string[]).find((l) => TOPOLOGY.includes(l))
  if (label)
    return p.add(path, `can not simultaneously set 'failover' and topology label '${label}' in 'failover_priority'`)
  for (const [i, { to = {} }] of (distribute as Json[]).entries()) {
    const at = `${path}.distribute[${i}]`
    const shares = Object.values<number>(to)
    const sum = shares.reduce((a, b) => a + b, 0)
    if (shares.some((n) => n <= 0 || n > 100)) p.add(at, 'locality weight must be in range [1, 100]')
    else p.check(sum === 100, at, `total locality weight ${sum} != 100`)
    // A map has no order: what is for the rest comes last.
    localities(Object.keys(to).sort(narrowFirst), at, p)
  }
  localities(
    (distribute as Json[]).map((d) => d.from ?? ''),
    path,
    p,
  )
  regions(setting, ejects, path, 'locality lb failover', 'only specify region', p)
}

function zoneSetting(setting: Json, ejects: boolean, path: string, p: Problems): void {
  for (const label of (setting.failoverPriority ?? []) as string[])
    p.check(
      !TOPOLOGY.includes(label),
      `${path}.failoverPriority`,
      `'failover_priority' for zone aware lb must not use topology label '${label}'; region- and zone-level routing are handled automatically`,
    )
  const only = 'only specifies region; zone and subzone failover are handled automatically'
  regions(setting, ejects, path, 'zone aware lb failover', only, p)
}

/** Fail-over is from one region to another. */
function regions(setting: Json, ejects: boolean, path: string, what: string, only: string, p: Problems): void {
  const { failover = [], failoverPriority = [] } = setting
  p.warn(
    ejects || failover.length + failoverPriority.length === 0,
    'outlier detection policy must be provided for failover',
  )
  for (const [i, { from = '', to = '' }] of (failover as Json[]).entries()) {
    const at = `${path}.failover[${i}]`
    p.check(from !== to, at, `${what} settings must specify different regions`)
    p.check(!`${from}${to}`.includes('/'), at, `${what} ${only}`)
    p.check(!`${from}${to}`.includes('*'), at, `${what} region should not contain '*' wildcard`)
  }
}

/** Localities must be told apart: none within one before it, a wildcard only at the end, there for the rest. */
function localities(list: readonly string[], path: string, p: Problems): void {
  const seen: string[] = []
  for (const locality of list) {
    if (/\*.*\*|\*./.test(locality))
      return p.add(path, `locality ${locality} wildcard '*' number can not exceed 1 and must be in the end`)
    const parts = locality.split('/')
    if (parts.includes('')) return p.add(path, `locality ${locality} must not contain empty region/zone/subzone info`)
    const whole = parts.filter((part) => part !== '*').join('/')
    const within = (a: string, b: string) => b === '' || a === b || a.startsWith(`${b}/`)
    const rest = parts.includes('*')
    if (seen.some((other) => within(whole, other) || (!rest && within(other, whole))))
      return p.add(path, `locality ${locality} overlap with previous specified ones`)
    seen.push(whole)
  }
}
