export { type RulesetOptions, renderRuleset, type ServicePort, servicePorts, transaction } from './ruleset.ts'
export { type Nft, ServiceProxy, systemNft } from './service-proxy.ts'
