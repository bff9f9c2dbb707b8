export * from './messages.ts'
export * from './struct.ts'
