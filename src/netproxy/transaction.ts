// The nft script that turns one table into another while packets pass. Pure.
//
// The kernel swaps the rules of a chain and the elements of a set at one moment, but a packet that is in
// the old rules then looks into sets as they are now. So a set that stays is never made anew: a packet in
// flight would find it empty.

/** A named set, or map, of a table. */
export interface NftSet {
  readonly kind: 'set' | 'map'
  /** Its type, flags and timeouts, a line each. One whose head changes must change its name. */
  readonly head: readonly string[]
  /** What is in it: a map's keys with their data, a set's with "". Empty for one the kernel fills. */
  readonly elements: ReadonlyMap<string, string>
}

/** A table of family ip. */
export interface Table {
  readonly name: string
  readonly sets: ReadonlyMap<string, NftSet>
  /** The lines of each chain; a base chain's first line is its hook. Those with a hook stay for ever. */
  readonly chains: ReadonlyMap<string, readonly string[]>
}

const isHook = (line: string | undefined) => line?.startsWith('type ') ?? false
const element = ([key, data]: [string, string]) => (data ? `${key} : ${data}` : key)

/** The script that makes the table as it should be; without `before` it is made anew. */
export function transaction(before: Table | undefined, after: Table): string {
  const start = before ?? { name: after.name, sets: new Map(), chains: new Map() }
  const lines = before ? [] : [`table ip ${after.name}`, `delete table ip ${after.name}`, `table ip ${after.name}`]
  const at = (what: string, name: string) => `${what} ip ${after.name} ${name}`
  const removed = <T>(from: ReadonlyMap<string, T>, to: ReadonlyMap<string, T>) =>
    [...from.keys()].filter((name) => !to.has(name))
  // What is pointed at comes first and goes last.
  for (const [name, rules] of after.chains)
    if (!start.chains.has(name)) lines.push(`${at('add chain', name)}${isHook(rules[0]) ? ` { ${rules[0]} }` : ''}`)
  for (const [name, set] of after.sets)
    if (!start.sets.has(name)) lines.push(`${at(`add ${set.kind}`, name)} { ${set.head.join('; ')}; }`)
  for (const [name, set] of after.sets) {
    const had = start.sets.get(name)?.elements ?? new Map<string, string>()
    const gone = [...had].filter(([key, data]) => set.elements.get(key) !== data).map(element)
    const come = [...set.elements].filter(([key, data]) => had.get(key) !== data).map(element)
    if (gone.length > 0) lines.push(`${at('delete element', name)} { ${gone.join(', ')} }`)
    if (come.length > 0) lines.push(`${at('add element', name)} { ${come.join(', ')} }`)
  }
  for (const [name, rules] of after.chains) {
    const had = start.chains.get(name)
    if (had?.join('\n') === rules.join('\n')) continue
    if (had) lines.push(at('flush chain', name))
    for (const rule of isHook(rules[0]) ? rules.slice(1) : rules) lines.push(`${at('add rule', name)} ${rule}`)
  }
  const goneChains = removed(start.chains, after.chains)
  for (const name of goneChains) lines.push(at('flush chain', name))
  for (const name of goneChains) lines.push(at('delete chain', name))
  for (const name of removed(start.sets, after.sets)) lines.push(at(`delete ${start.sets.get(name)!.kind}`, name))
  return lines.length === 0 ? '' : `${lines.join('\n')}\n`
}
