export * from './json.ts'
export * from './messages.ts'
export * from './struct.ts'
