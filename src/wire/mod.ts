export * from './grpc.ts'
export * from './pki.ts'
export * from './protobuf.ts'
export * from './spdy.ts'
