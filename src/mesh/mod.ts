export { type AnalyzerInput, analyze, type Finding } from './analyze.ts'
export { Mesh } from './mesh.ts'
export { domainsOf, type MeshView, type ProxyNode, translate, type XdsResources } from './translate.ts'
