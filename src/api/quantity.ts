// resource.Quantity: "500m", "128Mi", "1e3".

const SUFFIX: Record<string, number> = {
  '': 1,
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
}

/** The value of a quantity as a number; undefined when it is not one. */
export function parseQuantity(text: string | number | undefined): number | undefined {
  if (typeof text === 'number') return text
  const m = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]))?$/.exec(text ?? '')
  if (!m) return undefined
  return Number(`${m[1]}${m[2] ?? ''}`) * SUFFIX[m[3] ?? '']!
}

/** CPU in thousandths of a core, or 0. */
export function milliCpu(text: string | number | undefined): number {
  return Math.round((parseQuantity(text) ?? 0) * 1000)
}

/** Bytes, or 0. */
export function bytesOf(text: string | number | undefined): number {
  return Math.round(parseQuantity(text) ?? 0)
}

/** Formats thousandths as Kubernetes does: "500m", "2". */
export function formatMilli(milli: number): string {
  return milli % 1000 === 0 ? String(milli / 1000) : `${milli}m`
}
