export { type RulesetOptions, renderRuleset, type ServicePort, servicePorts } from './ruleset.ts'
export { type Nft, ServiceProxy, systemNft } from './service-proxy.ts'
export { type NftSet, type Table, transaction } from './transaction.ts'
