// A process at rest gives memory back: garbage, what the allocator keeps of it, and the program's pages that only
// its start or its work has used.

import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

const MADV_DONTNEED = 4
/** A mapping of /proc/self/smaps: private, of a file, not writable. */
const MAPPING = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ [1-9]\d* +\/\S+$/m

/** Ranges of files that are in memory as they are on disk: nothing of them has been written to. */
function cleanRanges(smaps: string): [from: bigint, to: bigint][] {
  return smaps.split(/(?=^[0-9a-f]+-[0-9a-f]+ )/m).flatMap((entry): [bigint, bigint][] => {
    const m = MAPPING.exec(entry)
    const untouched = /^Anonymous: +0 kB$/m.test(entry) && /^Private_Dirty: +0 kB$/m.test(entry)
    return m && untouched ? [[BigInt(`0x${m[1]}`), BigInt(`0x${m[2]}`)]] : []
  })
}

const LOOK_MS = 10_000

/** Looks now and then whether work was done since; when there was some and none now, memory goes back. */
export function giveBackMemoryAtRest(workDone: () => number): void {
  let last = -1
  let given = -1
  const look = () => {
    const now = workDone()
    // At rest: nothing was done since the last look, and something since memory was given back.
    if (now === last && now !== given) {
      given = now
      void giveBack()
    }
    last = now
  }
  setTimeout(look, LOOK_MS / 4).unref()
  setTimeout(look, LOOK_MS / 2).unref()
  setInterval(look, LOOK_MS).unref()
}

/**
 * Collects garbage and drops the program's unchanged pages; what is still used comes back from the file by itself
 * (madvise(2), MADV_DONTNEED on private file mappings). Does nothing where that cannot be done.
 */
async function giveBack(): Promise<void> {
  try {
    setFlagsFromString('--expose-gc')
    ;(runInNewContext('gc') as () => void)()
    const koffi = (await import('koffi')).default
    const libc = koffi.load('libc.so.6')
    libc.func('int malloc_trim(size_t pad)')(0)
    const madvise = libc.func('int madvise(uintptr_t at, size_t length, int advice)')
    for (const [from, to] of cleanRanges(readFileSync('/proc/self/smaps', 'utf8')))
      madvise(from, to - from, MADV_DONTNEED)
  } catch {
    // Memory is all that is lost.
  }
}
