export * from './contract.ts'
export { openEmbeddedStore } from './log-journal.ts'
export { MvccStore } from './mvcc-store.ts'
export { sealedStore } from './sealed-store.ts'
