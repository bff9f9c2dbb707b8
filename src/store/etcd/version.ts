// Which versions of etcd have faults that matter here. Sources: etcd's changelogs of 3.4 and 3.5.

/** A sentence on what is wrong with a version of etcd; undefined when nothing is known. */
export function etcdVersionProblem(version: string): string | undefined {
  const match = /^(\d+)\.(\d+)\.(\d+)/.exec(version)
  if (!match) return `etcd says it is version "${version}", which cannot be judged; 3.5.13 or newer is known to be good`
  const [major, minor, patch] = match.slice(1).map(Number) as [number, number, number]
  const than = (m: number, p: number) => major === 3 && minor === m && patch < p
  if (major < 3 || (major === 3 && minor < 4))
    return `etcd ${version} is too old: watches may miss events and it is no longer kept; use 3.5.13 or newer`
  if (than(5, 3))
    return `etcd ${version} can lose consistency between its members when one of them crashes under load (fixed in 3.5.3); use 3.5.13 or newer`
  if (than(4, 26))
    return `etcd ${version} lacks fixes for stale reads after a member restarts and for watches that miss events under compaction (fixed by 3.4.26); it works with a single member, but use 3.4.31 or 3.5.13 for several`
  if (than(5, 6))
    return `etcd ${version} may answer watches with revisions out of order after a defragmentation (fixed in 3.5.6); use 3.5.13 or newer`
  return undefined
}
