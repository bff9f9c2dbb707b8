// Who may do what: policies of permissions and principals (Envoy's RBAC).

import type { Message } from '#wire'
import { inRange, ipv4, rangesOf } from '../config/address-range.ts'
import { compileHeader, compileString, refuse } from '../config/matchers.ts'
import { pathOf, requestFits } from '../http/request.ts'
import { type FilterExchange, type HttpFilter, isDisabled } from './filter.ts'

type Rule = (exchange: FilterExchange) => boolean

interface Rules {
  /** Whether what matches is refused. */
  readonly deny: boolean
  readonly policies: readonly { readonly name: string; readonly fits: Rule }[]
}

export interface Rbac {
  readonly enforced: Rules | undefined
}

const DENY = 1
const LOG = 2

export function decodeRbac(m: Message, what: string): Rbac {
  const rules = m.rules
  if (!rules || rules.action === LOG) return { enforced: undefined }
  return {
    enforced: {
      deny: rules.action === DENY,
      policies: Object.entries((rules.policies ?? {}) as Record<string, Message>)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, policy]) => {
          if (policy.condition || policy.checked_condition)
            refuse(`${what}, policy ${name}`, 'conditions are not supported')
          const permissions = ((policy.permissions ?? []) as Message[]).map((p) => permissionOf(p, what))
          const principals = ((policy.principals ?? []) as Message[]).map((p) => principalOf(p, what))
          return { name, fits: (e) => permissions.some((p) => p(e)) && principals.some((p) => p(e)) }
        }),
    },
  }
}

export function rbacFilter(name: string, config: Message, what: string): HttpFilter {
  const usual = decodeRbac(config, what)
  return {
    name,
    onRequest(exchange, next) {
      const settings = exchange.settings(name)
      if (isDisabled(settings)) return next()
      const { enforced } = (settings as Rbac | undefined) ?? usual
      if (!enforced) return next()
      const policy = enforced.policies.find((p) => p.fits(exchange))
      if ((policy !== undefined) !== enforced.deny) return next()
      exchange.reply({
        status: 403,
        flags: '',
        details: `rbac_access_denied_matched_policy[${policy?.name.replace(/\s/g, '_') ?? 'none'}]`,
        body: 'RBAC: access denied',
      })
    },
  }
}

function headerRule(m: Message, what: string): Rule {
  const header = compileHeader(m, what)
  return (e) => requestFits(header, e.request)
}

function rangeRule(m: Message, address: (e: FilterExchange) => string): Rule {
  const ranges = rangesOf([m])
  return (e) => {
    const own = ipv4(address(e))
    return own !== undefined && ranges.some((r) => inRange(own, r))
  }
}

function permissionOf(m: Message, what: string): Rule {
  if (m.any) return () => true
  if (m.and_rules) return all(m.and_rules.rules, permissionOf, what)
  if (m.or_rules) return some(m.or_rules.rules, permissionOf, what)
  if (m.not_rule) return not(permissionOf(m.not_rule, what))
  if (m.header) return headerRule(m.header, what)
  if (m.url_path) {
    const path = compileString(m.url_path.path, what)
    return (e) => path.test(pathOf(e.request.path))
  }
  if (m.destination_port !== undefined) return (e) => e.source.port === m.destination_port
  if (m.destination_port_range) {
    const { start = 0, end = 0 } = m.destination_port_range
    return (e) => e.source.port >= start && e.source.port < end
  }
  if (m.destination_ip) return rangeRule(m.destination_ip, (e) => e.source.host)
  if (m.requested_server_name) {
    const name = compileString(m.requested_server_name, what)
    return (e) => name.test(e.source.tls?.serverName ?? '')
  }
  return refuse(what, `permission ${Object.keys(m).join()} is not supported`)
}

function principalOf(m: Message, what: string): Rule {
  if (m.any) return () => true
  if (m.and_ids) return all(m.and_ids.ids, principalOf, what)
  if (m.or_ids) return some(m.or_ids.ids, principalOf, what)
  if (m.not_id) return not(principalOf(m.not_id, what))
  if (m.header) return headerRule(m.header, what)
  if (m.url_path) {
    const path = compileString(m.url_path.path, what)
    return (e) => path.test(pathOf(e.request.path))
  }
  if (m.authenticated) {
    const name = m.authenticated.principal_name ? compileString(m.authenticated.principal_name, what) : undefined
    return (e) => {
      const peer = e.source.tls?.peer
      return peer !== undefined && (name === undefined || name.test(peer.uri) || peer.dns.some((d) => name.test(d)))
    }
  }
  if (m.direct_remote_ip) return rangeRule(m.direct_remote_ip, (e) => e.source.client)
  if (m.source_ip) return rangeRule(m.source_ip, (e) => e.source.client)
  if (m.remote_ip) return rangeRule(m.remote_ip, (e) => e.client)
  return refuse(what, `principal ${Object.keys(m).join()} is not supported`)
}

type Compile = (m: Message, what: string) => Rule

function all(list: readonly Message[] = [], compile: Compile, what: string): Rule {
  const rules = list.map((m) => compile(m, what))
  return (e) => rules.every((r) => r(e))
}

function some(list: readonly Message[] = [], compile: Compile, what: string): Rule {
  const rules = list.map((m) => compile(m, what))
  return (e) => rules.some((r) => r(e))
}

const not =
  (rule: Rule): Rule =>
  (e) =>
    !rule(e)
