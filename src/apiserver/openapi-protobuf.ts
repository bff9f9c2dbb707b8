// The OpenAPI v2 document in gnostic's protobuf form, which kubectl before 1.30 asks for.

import type { Json } from '#api'
import { type Message, type MessageType, message, repeated } from '#wire'

const AnyValue = message('google.protobuf.Any', { type_url: [1, 'string'], value: [2, 'bytes'] })
const Any = message('openapi.v2.Any', { value: [1, AnyValue], yaml: [2, 'string'] })
const NamedAny = message('openapi.v2.NamedAny', { name: [1, 'string'], value: [2, Any] })
const StringList = message('openapi.v2.StringArray', { value: [1, repeated('string')] })
const NamedSchema: MessageType = message('openapi.v2.NamedSchema', { name: [1, 'string'], value: [2, () => Schema] })
const Properties = message('openapi.v2.Properties', { additional_properties: [1, repeated(NamedSchema)] })
const AdditionalItem = message('openapi.v2.AdditionalPropertiesItem', {
  schema: [1, () => Schema],
  boolean: [2, 'bool'],
})
const Items = message('openapi.v2.ItemsItem', { schema: [1, repeated(() => Schema)] })
const Schema: MessageType = message('openapi.v2.Schema', {
  _ref: [1, 'string'],
  format: [2, 'string'],
  description: [4, 'string'],
  pattern: [13, 'string'],
  required: [19, repeated('string')],
  enum: [20, repeated(Any)],
  additional_properties: [21, AdditionalItem],
  type: [22, StringList],
  items: [23, Items],
  properties: [25, Properties],
  vendor_extension: [31, repeated(NamedAny)],
})
const QueryParameter = message('openapi.v2.QueryParameterSubSchema', {
  required: [1, 'bool'],
  in: [2, 'string'],
  description: [3, 'string'],
  name: [4, 'string'],
  type: [6, 'string'],
  unique_items: [17, 'bool'],
})
const NonBody = message('openapi.v2.NonBodyParameter', { query_parameter_sub_schema: [3, QueryParameter] })
const Body = message('openapi.v2.BodyParameter', {
  description: [1, 'string'],
  name: [2, 'string'],
  in: [3, 'string'],
  required: [4, 'bool'],
  schema: [5, Schema],
})
const Parameter = message('openapi.v2.Parameter', { body_parameter: [1, Body], non_body_parameter: [2, NonBody] })
const ParametersItem = message('openapi.v2.ParametersItem', { parameter: [1, Parameter] })
const SchemaItem = message('openapi.v2.SchemaItem', { schema: [1, Schema] })
const Response = message('openapi.v2.Response', { description: [1, 'string'], schema: [2, SchemaItem] })
const ResponseValue = message('openapi.v2.ResponseValue', { response: [1, Response] })
const NamedResponse = message('openapi.v2.NamedResponseValue', { name: [1, 'string'], value: [2, ResponseValue] })
const Responses = message('openapi.v2.Responses', { response_code: [1, repeated(NamedResponse)] })
const Operation = message('openapi.v2.Operation', {
  operation_id: [5, 'string'],
  parameters: [8, repeated(ParametersItem)],
  responses: [9, Responses],
  vendor_extension: [13, repeated(NamedAny)],
})
const PathItem = message('openapi.v2.PathItem', {
  get: [2, Operation],
  put: [3, Operation],
  post: [4, Operation],
  delete: [5, Operation],
  patch: [8, Operation],
})
const NamedPath = message('openapi.v2.NamedPathItem', { name: [1, 'string'], value: [2, PathItem] })
const Paths = message('openapi.v2.Paths', { path: [2, repeated(NamedPath)] })
const Info = message('openapi.v2.Info', { title: [1, 'string'], version: [2, 'string'] })
const Definitions = message('openapi.v2.Definitions', { additional_properties: [1, repeated(NamedSchema)] })
const Document = message('openapi.v2.Document', {
  swagger: [1, 'string'],
  info: [2, Info],
  paths: [8, Paths],
  definitions: [9, Definitions],
})

/** Encodes a document made by `openApiV2`. */
export function encodeOpenApiV2(document: Json): Buffer {
  return Document.encode({
    swagger: document.swagger,
    info: document.info,
    paths: { path: Object.entries<Json>(document.paths).map(([name, item]) => ({ name, value: pathItem(item) })) },
    definitions: { additional_properties: named(document.definitions) },
  })
}

const named = (schemas: Json): Message[] =>
  Object.entries<Json>(schemas).map(([name, value]) => ({ name, value: schema(value) }))

/** Extensions travel as YAML; JSON is YAML. */
function extensions(value: Json): Message[] {
  return Object.keys(value)
    .filter((k) => k.startsWith('x-'))
    .map((name) => ({ name, value: { yaml: `${JSON.stringify(value[name])}\n` } }))
}

function schema(value: Json): Message {
  const result: Message = { vendor_extension: extensions(value) }
  if (value.$ref) result._ref = value.$ref
  for (const key of ['format', 'description', 'pattern', 'required']) if (value[key]) result[key] = value[key]
  if (value.enum) result.enum = value.enum.map((v: unknown) => ({ yaml: `${JSON.stringify(v)}\n` }))
  if (value.type) result.type = { value: [value.type] }
  if (value.items) result.items = { schema: [schema(value.items)] }
  if (value.properties) result.properties = { additional_properties: named(value.properties) }
  if (typeof value.additionalProperties === 'object')
    result.additional_properties = { schema: schema(value.additionalProperties) }
  else if (value.additionalProperties === true) result.additional_properties = { boolean: true }
  return result
}

function pathItem(item: Json): Message {
  const result: Message = {}
  for (const [method, operation] of Object.entries<Json>(item))
    result[method] = {
      operation_id: operation.operationId,
      vendor_extension: extensions(operation),
      parameters: operation.parameters.map((p: Json) => ({
        parameter:
          p.in === 'body'
            ? { body_parameter: { name: p.name, in: p.in, required: true, schema: schema(p.schema) } }
            : {
                non_body_parameter: {
                  query_parameter_sub_schema: {
                    in: p.in,
                    description: p.description,
                    name: p.name,
                    type: p.type,
                    unique_items: true,
                  },
                },
              },
      })),
      responses: {
        response_code: Object.entries<Json>(operation.responses).map(([name, r]) => ({
          name,
          value: { response: { description: r.description, schema: { schema: schema(r.schema) } } },
        })),
      },
    }
  return result
}
