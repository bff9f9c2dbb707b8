// Texts and numbers with the bounds that Istio's definitions give them (istio.io/api, the kinds' OpenAPI schemas).

import type { Json } from '#api'

const NAME = '[a-z0-9]([-a-z0-9]*[a-z0-9])?'
const text = (minLength: number, maxLength?: number, pattern?: string): Json => ({
  type: 'string',
  ...(minLength > 0 ? { minLength } : {}),
  ...(maxLength === undefined ? {} : { maxLength }),
  ...(pattern ? { pattern } : {}),
})

export const SCALARS: Readonly<Record<string, Json>> = {
  uint31: { type: 'integer', minimum: 0, format: 'int32' },
  uint32: { type: 'integer', minimum: 0, maximum: 2 ** 32 - 1 },
  uint64: { type: 'integer', minimum: 0 },
  positive: { type: 'integer', minimum: 1, maximum: 2 ** 32 - 1 },
  unsigned: { type: 'number', minimum: 0 },
  percent: { type: 'number', minimum: 0, maximum: 100 },
  HTTPStatus: { type: 'integer', minimum: 100, maximum: 599 },
  PortNumeral: { type: 'integer', minimum: 1, maximum: 65_535 },
  Text: text(1),
  Text64: text(0, 64),
  Text253: text(0, 253),
  Text256: text(0, 256),
  Text320: text(0, 320),
  Text2048: text(0, 2048),
  LabelValue: text(0, 63),
  Group: text(0, 253, `^$|^${NAME}(\\.${NAME})*$`),
  Kind: text(1, 63, '^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$'),
  Name: text(1, 253),
  PluginName: text(1, 256),
  Uri: text(1, 2048),
  HeaderName: text(0, undefined, '^[-_A-Za-z0-9]+$'),
  ClaimHeader: text(1, undefined, '^[-_A-Za-z0-9]+$'),
  Sha256: text(0, undefined, '(^$|^[a-f0-9]{64}$)'),
  LuaCode: text(1, 65_536),
}
