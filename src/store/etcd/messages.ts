// etcd's own API, as far as it is spoken here: etcdserverpb/rpc.proto and mvccpb/kv.proto by field number.

import { MessageType, type Method, repeated } from '#wire'

const Empty = new MessageType('Empty', {})
const Header = new MessageType('ResponseHeader', { revision: [3, 'int64'] })

export const KeyValueMessage = new MessageType('KeyValue', {
  key: [1, 'bytes'],
  createRevision: [2, 'int64'],
  modRevision: [3, 'int64'],
  version: [4, 'int64'],
  value: [5, 'bytes'],
})

const RangeRequest = new MessageType('RangeRequest', {
  key: [1, 'bytes'],
  rangeEnd: [2, 'bytes'],
  limit: [3, 'int64'],
  revision: [4, 'int64'],
  serializable: [7, 'bool'],
  keysOnly: [8, 'bool'],
  countOnly: [9, 'bool'],
})
const RangeResponse = new MessageType('RangeResponse', {
  header: [1, Header],
  kvs: [2, repeated(KeyValueMessage)],
  more: [3, 'bool'],
  count: [4, 'int64'],
})
const PutRequest = new MessageType('PutRequest', { key: [1, 'bytes'], value: [2, 'bytes'] })
const PutResponse = new MessageType('PutResponse', { header: [1, Header] })
const DeleteRangeRequest = new MessageType('DeleteRangeRequest', { key: [1, 'bytes'], prevKv: [3, 'bool'] })
const DeleteRangeResponse = new MessageType('DeleteRangeResponse', {
  header: [1, Header],
  deleted: [2, 'int64'],
  prevKvs: [3, repeated(KeyValueMessage)],
})
const RequestOp = new MessageType('RequestOp', {
  range: [1, RangeRequest],
  put: [2, PutRequest],
  deleteRange: [3, DeleteRangeRequest],
})
const ResponseOp = new MessageType('ResponseOp', {
  range: [1, RangeResponse],
  put: [2, PutResponse],
  deleteRange: [3, DeleteRangeResponse],
})
const Compare = new MessageType('Compare', {
  result: [1, 'enum'],
  target: [2, 'enum'],
  key: [3, 'bytes'],
  createRevision: [5, 'int64'],
  modRevision: [6, 'int64'],
})
const TxnRequest = new MessageType('TxnRequest', {
  compare: [1, repeated(Compare)],
  success: [2, repeated(RequestOp)],
  failure: [3, repeated(RequestOp)],
})
const TxnResponse = new MessageType('TxnResponse', {
  header: [1, Header],
  succeeded: [2, 'bool'],
  responses: [3, repeated(ResponseOp)],
})
const CompactionRequest = new MessageType('CompactionRequest', { revision: [1, 'int64'], physical: [2, 'bool'] })
const CompactionResponse = new MessageType('CompactionResponse', { header: [1, Header] })

const WatchCreateRequest = new MessageType('WatchCreateRequest', {
  key: [1, 'bytes'],
  rangeEnd: [2, 'bytes'],
  startRevision: [3, 'int64'],
  progressNotify: [4, 'bool'],
  prevKv: [6, 'bool'],
})
const WatchRequest = new MessageType('WatchRequest', { create: [1, WatchCreateRequest] })
const WatchEvent = new MessageType('Event', {
  /** 0 put, 1 delete. */
  type: [1, 'enum'],
  kv: [2, KeyValueMessage],
  prevKv: [3, KeyValueMessage],
})
const WatchResponse = new MessageType('WatchResponse', {
  header: [1, Header],
  watchId: [2, 'int64'],
  created: [3, 'bool'],
  canceled: [4, 'bool'],
  compactRevision: [5, 'int64'],
  cancelReason: [6, 'string'],
  events: [11, repeated(WatchEvent)],
})
const StatusResponse = new MessageType('StatusResponse', { header: [1, Header], version: [2, 'string'] })

/** What a Compare looks at, and how (etcdserverpb.Compare). */
export const CompareTarget = { create: 1, mod: 2 } as const

const method = (path: string, request: MessageType, response: MessageType): Method => ({
  path: `/etcdserverpb.${path}`,
  request,
  response,
})

export const Etcd = {
  range: method('KV/Range', RangeRequest, RangeResponse),
  txn: method('KV/Txn', TxnRequest, TxnResponse),
  compact: method('KV/Compact', CompactionRequest, CompactionResponse),
  watch: method('Watch/Watch', WatchRequest, WatchResponse),
  status: method('Maintenance/Status', Empty, StatusResponse),
} as const
