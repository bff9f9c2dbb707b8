export { type RulesetOptions, renderRuleset, type ServicePort, servicePorts } from './ruleset.ts'
export { type Nft, ServiceProxy, systemNft } from './service-proxy.ts'
