export * from './contract.ts'
export * from './controller.ts'
export * from './events.ts'
export * from './informer.ts'
