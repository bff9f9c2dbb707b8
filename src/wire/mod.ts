export { readBytes } from './byte-reader.ts'
export * from './client-hello.ts'
export * from './grpc.ts'
export * from './grpc-health.ts'
export { type Served, type ServerCall, serveGrpc } from './grpc-server.ts'
export * from './h1.ts'
export {
  H1Error,
  type H1Head,
  hasToken,
  isFieldName,
  isFieldValue,
  isTarget,
  isToken,
  utf8,
  writeChunk,
  writeFields,
  writeLastChunk,
} from './h1-head.ts'
export { H2Code, PREFACE } from './h2-frames.ts'
export { H2_LIMITS, type H2Limits } from './h2-limits.ts'
export * from './h2-session.ts'
export { H2Stream, type H2StreamEvents } from './h2-stream.ts'
export { HpackDecoder, HpackEncoder } from './hpack.ts'
export { Output } from './output.ts'
export * from './pki.ts'
export * from './protobuf.ts'
export * from './proxy-protocol.ts'
export * from './spdy.ts'
