// Server-side tables: turns objects into the rows that `kubectl get` prints.

import { age } from './duration.ts'
import { jsonPath } from './json-path.ts'
import { groupResource, type ResourceKind } from './kinds.ts'
import { type Column, PRINTERS } from './printers.ts'
import type { Json } from './types.ts'

/** How a row carries its object. */
export type IncludeObject = 'None' | 'Metadata' | 'Object'

export interface TableOptions {
  now: number
  includeObject: IncludeObject
  /** Columns are left out: later chunks of a watch. */
  noHeaders?: boolean
}

const NAME: Column = {
  name: 'Name',
  type: 'string',
  format: 'name',
  description: 'Name must be unique within a namespace.',
}
const AGE: Column = {
  name: 'Age',
  type: 'string',
  description: 'CreationTimestamp is a timestamp representing the server time when this object was created.',
}

interface Printer {
  columns: readonly Column[]
  cells(object: Json, now: number): unknown[]
}

function customPrinter(columns: readonly Json[]): Printer {
  return {
    columns: [
      NAME,
      ...columns.map((c) => ({
        name: c.name,
        type: c.type,
        format: c.format ?? '',
        description: c.description ?? '',
        priority: c.priority ?? 0,
      })),
    ],
    cells: (object, now) => [
      object.metadata.name,
      ...columns.map((c) => {
        const value = jsonPath(object, c.jsonPath)[0]
        if (c.type === 'date') return typeof value === 'string' ? age(value, now) : '<unknown>'
        if (value === undefined || value === null) return null
        return typeof value === 'object' ? JSON.stringify(value) : value
      }),
    ],
  }
}

const plain: Printer = {
  columns: [NAME, AGE],
  cells: (object, now) => [object.metadata.name, age(object.metadata.creationTimestamp, now)],
}

function printerOf(kind: ResourceKind): Printer {
  if (kind.custom) {
    const columns = kind.custom.additionalPrinterColumns
    return columns?.length ? customPrinter(columns) : plain
  }
  const printer = PRINTERS[groupResource(kind)]
  if (!printer) return plain
  const ages = !printer.noAge
  return {
    columns: [
      ...(printer.noName ? [] : [NAME]),
      ...printer.columns,
      ...(ages ? [AGE] : []),
      ...(printer.wide ?? []).map((c) => ({ ...c, priority: 1 })),
    ],
    cells: (object, now) => [
      ...(printer.noName ? [] : [object.metadata.name]),
      ...printer.cells(object, now),
      ...(ages ? [age(object.metadata.creationTimestamp, now)] : []),
      ...(printer.wideCells?.(object, now) ?? []),
    ],
  }
}

/** A meta.k8s.io/v1 Table of objects. */
export function table(kind: ResourceKind, objects: readonly Json[], listMeta: Json, options: TableOptions): Json {
  const printer = printerOf(kind)
  return {
    kind: 'Table',
    apiVersion: 'meta.k8s.io/v1',
    metadata: listMeta,
    columnDefinitions: options.noHeaders
      ? []
      : printer.columns.map((c) => ({
          name: c.name,
          type: c.type,
          format: c.format ?? '',
          description: c.description ?? '',
          priority: c.priority ?? 0,
        })),
    rows: objects.map((object) => ({
      cells: printer.cells(object, options.now),
      ...(options.includeObject === 'None'
        ? {}
        : { object: options.includeObject === 'Object' ? object : partialMetadata(object) }),
    })),
  }
}

/** A PartialObjectMetadata of an object. */
export function partialMetadata(object: Json): Json {
  return { kind: 'PartialObjectMetadata', apiVersion: 'meta.k8s.io/v1', metadata: object.metadata }
}
