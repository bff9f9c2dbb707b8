// A program and all that it imports as one file: it starts sooner than its sources, and needs nothing beside it.

export interface BundleOptions {
  /** As small as it gets, for images; otherwise names stay what they are, for whoever reads a stack. */
  readonly minify: boolean
}

/** The text of a module that does what `entry` does. Native modules and what builds programs are left outside. */
export async function bundle(entry: string, { minify }: BundleOptions): Promise<string> {
  const { build } = await import('esbuild')
  const result = await build({
    entryPoints: [entry],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    write: false,
    minify,
    keepNames: !minify,
    external: ['koffi', 'esbuild'],
    banner: { js: 'import{createRequire as __cr}from"node:module";const require=__cr(import.meta.url);' },
  })
  return result.outputFiles[0]!.text
}
