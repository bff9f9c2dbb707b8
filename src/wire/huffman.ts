// The Huffman code of HPACK (RFC 7541, appendix B). It is canonical: the lengths of the codes tell the codes.

/** Bits of each byte's code and of the end-of-string's, run-length encoded: "lengthxcount". */
const LENGTHS =
  '13 23 28x7 24 30 28x2 30 28x8 30 28x9 6 10x2 12 13 6 8 11 10x2 8 11 8 6x3 5x3 6x7 7 8 15 6 12 10 13 6 7x22 8 7 8 13 19 13 14 6 15 5 6 5 6 5 6x3 5 7x2 6x3 5 6 7 6 5x2 6 7x5 15 11 14 13 28 20 22 20x2 22x3 23 22 23x5 24 23 24x2 22 23 24 23x4 21 22 23 22 23x2 24 22 21 20 22x2 23x2 21 23 22x2 24 21 22 23x2 21x2 22 21 23 22 23x2 20 22x3 23 22x2 23 26x2 20 19 22 23 22 25 26x3 27x2 26 24 25 19 21 26 27x2 26 27 24 21x2 26x2 28 27x3 20 24 20 21 22 21x2 23 22x2 25x2 24x2 26 23 26 27 26x2 27x5 28 27x5 26 30'

const EOS = 256

const lengths = LENGTHS.split(' ').flatMap((run) => {
  const [length, count = '1'] = run.split('x')
  return new Array<number>(Number(count)).fill(Number(length))
})

/** A tree of nodes with two branches each; a branch is a node, or ~symbol. */
const tree: [number, number][] = [[0, 0]]
for (const { length, symbol, code } of canonical()) {
  let node = 0
  for (let bit = length - 1; bit > 0; bit--) {
    const side = (code >> bit) & 1
    let next = tree[node]![side]!
    if (next === 0) {
      next = tree.push([0, 0]) - 1
      tree[node]![side] = next
    }
    node = next
  }
  tree[node]![code & 1] = ~symbol
}

function canonical(): { symbol: number; length: number; code: number }[] {
  const order = lengths.map((length, symbol) => ({ symbol, length })).sort((a, b) => a.length - b.length)
  let code = 0
  let before = order[0]!.length
  return order.map(({ symbol, length }) => {
    code <<= length - before
    before = length
    return { symbol, length, code: code++ }
  })
}

/** After four more bits: the node reached, or FAIL; and the symbol passed on the way, -1 for none. */
const FAIL = -1
const NEXT = new Int16Array(tree.length * 16)
const SYMBOL = new Int16Array(tree.length * 16)
for (let node = 0; node < tree.length; node++)
  for (let bits = 0; bits < 16; bits++) {
    let at = node
    let symbol = -1
    for (let bit = 3; bit >= 0 && at !== FAIL; bit--) {
      const branch = tree[at]![(bits >> bit) & 1]!
      if (branch >= 0) at = branch
      else if (~branch === EOS) at = FAIL
      else {
        symbol = ~branch
        at = 0
      }
    }
    NEXT[node * 16 + bits] = at
    SYMBOL[node * 16 + bits] = symbol
  }

/** Nodes on the way of ones only, up to seven: where a string may end. */
const padding = new Set([0])
for (let node = 0, i = 0; i < 7; i++) {
  node = tree[node]![1]!
  padding.add(node)
}

/** The text of a Huffman-coded string, a character for each byte; undefined when it is not one. */
export function decodeHuffman(data: Uint8Array, from: number, to: number): string | undefined {
  let node = 0
  let text = ''
  for (let i = from; i < to; i++) {
    const byte = data[i]!
    for (let half = 0; half < 2; half++) {
      const at = node * 16 + (half === 0 ? byte >> 4 : byte & 15)
      node = NEXT[at]!
      if (node === FAIL) return undefined
      const symbol = SYMBOL[at]!
      if (symbol >= 0) text += String.fromCharCode(symbol)
    }
  }
  return padding.has(node) ? text : undefined
}
