// `npm run bench -- NAME [--json]`: measures ours and a peer in the same run.

const [name = '', ...flags] = process.argv.slice(2)
const BENCHES = ['api', 'cluster', 'growth', 'mesh', 'proxy', 'store', 'watch']
if (!BENCHES.includes(name)) {
  process.stderr.write(`usage: npm run bench -- ${BENCHES.join('|')} [--json]\n`)
  process.exit(2)
}
const { run } = (await import(`./${name}.ts`)) as { run(report: typeof import('./report.ts').report): Promise<void> }
const { report, finish } = await import('./report.ts')
await run(report)
finish(name, flags.includes('--json'))
process.exit(0)
