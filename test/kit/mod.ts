export * from './api.ts'
export * from './cluster.ts'
