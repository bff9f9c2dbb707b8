// The subset of JSONPath that printer columns and scale paths use: fields, indexes, wildcards, simple filters.

/** Evaluates a path such as ".spec.hosts", ".status.conditions[?(@.type=='Ready')].status". */
export function jsonPath(root: unknown, path: string): unknown[] {
  let values: unknown[] = [root]
  const step =
    /\.?([A-Za-z0-9_$-]+(?:\\\.[A-Za-z0-9_$/-]+)*)|\[(\d+)\]|\[['"]([^'"]+)['"]\]|\[\*\]|\.\*|\[\?\(@\.([\w.]+)\s*==\s*(?:'([^']*)'|"([^"]*)"|(\w+))\)\]/gy
  step.lastIndex = 0
  while (step.lastIndex < path.length) {
    const m = step.exec(path)
    if (!m) return []
    const [all, name, index, quoted, filter, single, double, bare] = m
    const next: unknown[] = []
    for (const value of values) {
      if (typeof value !== 'object' || value === null) continue
      if (name !== undefined || quoted !== undefined)
        next.push((value as Record<string, unknown>)[quoted ?? name!.replaceAll('\\.', '.')])
      else if (index !== undefined) next.push((value as unknown[])[Number(index)])
      else if (filter !== undefined && Array.isArray(value))
        next.push(...value.filter((v) => String(jsonPath(v, `.${filter}`)[0]) === (single ?? double ?? bare)))
      else if (all.includes('*')) next.push(...Object.values(value))
    }
    values = next.filter((v) => v !== undefined)
  }
  return values
}
