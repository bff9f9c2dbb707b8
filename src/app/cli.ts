// The commands: what people type, and what they get back.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { Command, Option } from 'commander'
import { messageOf, SampanError } from '#base'
import {
  type Cluster,
  DEFAULT_NAME,
  defaultDataDir,
  findCluster,
  findOrCreateCluster,
  forgetCluster,
} from './cluster.ts'
import { loadCredentials } from './credentials.ts'
import { type DatastoreFlags, datastoreOf } from './datastore.ts'
import { diagnose } from './doctor.ts'
import { contextName, formatKubeconfig, kubeconfigOf } from './kubeconfig.ts'
import { clusterOf, down, serverState, up } from './lifecycle.ts'
import { say, table } from './terminal.ts'
import { KUBERNETES_VERSION, VERSION } from './version.ts'

/**
 * Exit codes: 1 it failed, 2 the command line is wrong, 3 there is no such cluster or it is not running, 79 analysis found
 * something (istioctl's own).
 */
export const EXIT = { failed: 1, usage: 2, notRunning: 3, findings: 79 } as const

interface Common {
  name: string
  dataDir?: string
  kubeconfig?: string
  output?: string
}

const dataDirOf = (o: Common) => o.dataDir ?? defaultDataDir(o.name)
const kubeconfigPath = (o: Common) =>
  o.kubeconfig ?? process.env.KUBECONFIG?.split(':')[0] ?? join(homedir(), '.kube', 'config')
/** The context of the cluster that is named; undefined, for the current one, when none is. */
const namedContext = (o: Common, command: Command) =>
  command.getOptionValueSource('name') === 'cli' ? contextName(o.name) : undefined
const print = (text: string): void => {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`)
}
const printJson = (value: unknown) => print(JSON.stringify(value, null, 2))

function withCluster(command: Command): Command {
  return command
    .option('--name <name>', 'name of the cluster', DEFAULT_NAME)
    .option('--data-dir <folder>', `where the cluster is kept (default: /var/lib/sampan/NAME)`)
    .option('--kubeconfig <file>', 'kubeconfig to write (default: $KUBECONFIG or ~/.kube/config)')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['json']))
}

interface AnalyzeFlags {
  useKube: string
  allNamespaces?: boolean
  namespace?: string
  recursive?: boolean
  suppress: string[]
  meshConfigFile?: string
  listAnalyzers?: boolean
  failureThreshold: 'Error' | 'Warning' | 'Info'
  outputThreshold: 'Error' | 'Warning' | 'Info'
}

const gather = (value: string, before: string[]) => [...before, value]
const levelOption = (flags: string, text: string, usual: string) =>
  new Option(flags, text).choices(['Error', 'Warning', 'Info']).default(usual)

const examples = (...lines: string[]) => `\nExamples:\n${lines.map((l) => `  $ ${l}`).join('\n')}\n`

/** Builds the command line. */
function program(): Command {
  const root = new Command('sampan')
    .description('Kubernetes and Istio in one small boat')
    .version(VERSION, '-V, --version')
    .showHelpAfterError('(use --help for the options and examples)')
    .exitOverride()
    .configureOutput({ writeErr: (text) => process.stderr.write(text) })
    .addHelpText('after', examples('sampan up', 'kubectl get nodes', 'sampan down --purge'))

  withCluster(root.command('up'))
    .description('start the cluster and wait until it is Ready')
    .option('--foreground', 'stay and show the log instead of leaving a background server')
    .option('--datastore-endpoints <urls>', 'keep the state in this etcd: https://host:2379, several by commas')
    .option('--datastore-cafile <file>', 'certificate authority of the etcd')
    .option('--datastore-certfile <file>', 'client certificate for the etcd')
    .option('--datastore-keyfile <file>', 'its key')
    .addHelpText(
      'after',
      examples(
        'sampan up',
        'sampan up --name test --data-dir /tmp/test --kubeconfig /tmp/test.kubeconfig',
        'sampan up --datastore-endpoints https://10.0.0.1:2379,https://10.0.0.2:2379 --datastore-cafile ca.crt --datastore-certfile client.crt --datastore-keyfile client.key',
      ),
    )
    .action(async (o: Common & DatastoreFlags & { foreground?: boolean }) => {
      const begin = Date.now()
      const datastore = datastoreOf(o)
      if (o.foreground) {
        const { addToKubeconfig } = await import('./kubeconfig.ts')
        const { runServer } = await import('./server.ts')
        const cluster = await findOrCreateCluster(o.name, dataDirOf(o), datastore)
        addToKubeconfig(kubeconfigPath(o), cluster, await loadCredentials(cluster))
        await runServer(cluster, { foreground: true })
        return
      }
      const { cluster, started } = await up({
        name: o.name,
        dataDir: dataDirOf(o),
        kubeconfig: kubeconfigPath(o),
        ...(datastore ? { datastore } : {}),
        progress: (t) => say(t),
      })
      if (o.output) {
        printJson({ ...summary(cluster), started })
        return
      }
      say(
        started
          ? `cluster "${cluster.name}" is Ready after ${((Date.now() - begin) / 1000).toFixed(1)} s`
          : `cluster "${cluster.name}" is running`,
      )
      say(`kubectl uses it now (context "${contextName(cluster.name)}" in ${kubeconfigPath(o)})`)
    })

  withCluster(root.command('down'))
    .description('stop the cluster and all its pods')
    .option('--purge', 'also remove its data, interfaces, rules and kubeconfig entry')
    .addHelpText('after', examples('sampan down', 'sampan down --purge --name test'))
    .action(async (o: Common & { purge?: boolean }) => {
      const found = await down({
        name: o.name,
        dataDir: dataDirOf(o),
        kubeconfig: kubeconfigPath(o),
        purge: o.purge ?? false,
      })
      if (o.output) {
        printJson({ name: o.name, found })
        return
      }
      say(
        found
          ? `cluster "${o.name}" is ${o.purge ? 'gone' : 'stopped'}`
          : `there is no cluster "${o.name}" in ${dataDirOf(o)}`,
      )
    })

  withCluster(root.command('status'))
    .description('tell whether the cluster runs and is healthy')
    .addHelpText('after', examples('sampan status', 'sampan status -o json'))
    .action((o: Common) => {
      const cluster = clusterOf(o.name, dataDirOf(o))
      const state = serverState(cluster)
      const status = {
        ...summary(cluster),
        running: state !== undefined,
        ready: state?.ready ?? false,
        pid: state?.pid ?? null,
        memoryBytes: state ? residentBytes(state.pid) : 0,
      }
      if (o.output) printJson(status)
      else
        print(
          table([
            ['NAME', 'STATUS', 'API SERVER', 'MEMORY'],
            [
              cluster.name,
              status.ready ? 'Ready' : status.running ? 'Starting' : 'Stopped',
              status.server,
              state ? `${Math.round(status.memoryBytes / 1e6)} MB` : '-',
            ],
          ]),
        )
      if (!state) process.exitCode = EXIT.notRunning
    })

  withCluster(root.command('backup'))
    .argument('<file>', 'file to write')
    .description("write the cluster's state and keys to a file, while it runs")
    .addHelpText('after', examples('sampan backup sampan-$(date +%F).backup'))
    .action(async (file: string, o: Common) => {
      const { backup } = await import('./backup.ts')
      const summary = await backup(clusterOf(o.name, dataDirOf(o)), file)
      if (o.output) printJson({ file, ...summary })
      else {
        say(`${summary.keys} objects at revision ${summary.revision} are in ${file} (SHA-256 ${summary.sha256})`)
        say("it holds the cluster's private keys: keep it as you keep those")
      }
    })

  withCluster(root.command('restore'))
    .argument('<file>', 'file written by "sampan backup"')
    .description('bring a cluster back to the state of a backup; it must be stopped')
    .addHelpText('after', examples('sampan down && sampan restore sampan-2026-01-31.backup && sampan up'))
    .action(async (file: string, o: Common) => {
      const { restore } = await import('./backup.ts')
      const known = findCluster(o.name, dataDirOf(o)) !== undefined
      const cluster = await findOrCreateCluster(o.name, dataDirOf(o))
      if (serverState(cluster))
        throw new SampanError(
          'Running',
          `Cannot restore the cluster "${o.name}": it is running; stop it with "sampan down" first`,
        )
      const summary = await restore(cluster, file).catch((error) => {
        if (!known) forgetCluster(cluster)
        throw error
      })
      if (o.output) printJson({ file, ...summary })
      else say(`${summary.keys} objects of revision ${summary.revision} are back; start the cluster with "sampan up"`)
    })

  withCluster(root.command('kubeconfig'))
    .description('print a kubeconfig for the cluster')
    .addHelpText('after', examples('sampan kubeconfig > ~/.kube/sampan'))
    .action(async (o: Common) => {
      const cluster = clusterOf(o.name, dataDirOf(o))
      const config = kubeconfigOf(cluster, await loadCredentials(cluster))
      if (o.output) printJson(config)
      else print(formatKubeconfig(config))
    })

  withCluster(root.command('logs'))
    .argument('[component]', 'part of the cluster whose log to print')
    .description('print the log of a part of the cluster; without a name, list the parts')
    .option('--tail <lines>', 'only the last lines', (v) => Number.parseInt(v, 10))
    .addHelpText('after', examples('sampan logs', 'sampan logs kube-apiserver --tail 20'))
    .action((component: string | undefined, o: Common & { tail?: number }) => {
      const directory = join(clusterOf(o.name, dataDirOf(o)).dataDir, 'logs')
      const parts = readdirSync(directory).flatMap((f) => /^(.+)\.log$/.exec(f)?.[1] ?? [])
      if (!component) {
        print(o.output ? JSON.stringify(parts) : parts.join('\n'))
        return
      }
      if (!parts.includes(component))
        throw new SampanError(
          'NoComponent',
          `Cannot show the log of "${component}": there is no such part; the parts are: ${parts.join(', ')}`,
        )
      const lines = readFileSync(join(directory, `${component}.log`), 'utf8')
        .trimEnd()
        .split('\n')
      print(lines.slice(o.tail === undefined ? 0 : -o.tail).join('\n'))
    })

  const image = root.command('image').description("images on the cluster's node")
  withCluster(image.command('load'))
    .argument('<file>', 'archive written by "docker save"')
    .description('load images from an archive')
    .addHelpText('after', examples('docker save my/app:v1 > app.tar && sampan image load app.tar'))
    .action(async (file: string, o: Common) => {
      const cluster = runningCluster(o)
      if (!existsSync(file)) throw new SampanError('NoFile', `Cannot load ${file}: there is no such file`)
      const { importArchive } = await import('./server.ts')
      await importArchive(cluster, file)
      say(`loaded ${file}`)
    })
  withCluster(image.command('ls'))
    .description('list images')
    .addHelpText('after', examples('sampan image ls', 'sampan image ls -o json'))
    .action(async (o: Common) => {
      const cluster = runningCluster(o)
      const { Runtime, socketOf } = await import('#node')
      const runtime = new Runtime(socketOf(cluster.runDir))
      const images = await runtime.images().finally(() => runtime.close())
      if (o.output) {
        printJson(images)
        return
      }
      print(
        table([
          ['IMAGE', 'SIZE', 'ID'],
          ...images.flatMap((i) =>
            i.tags.map((t) => [t.replace(/^docker\.io\//, ''), `${(i.size / 1e6).toFixed(1)} MB`, i.id.slice(7, 19)]),
          ),
        ]),
      )
    })

  const mesh = root.command('mesh').description('the service mesh')
  withCluster(mesh.command('analyze [files...]'))
    .description('find configuration that is wrong or cannot take effect')
    .option('-k, --use-kube [boolean]', 'look at the cluster too (default: true)', 'true')
    .option('-A, --all-namespaces', 'of all namespaces')
    .option('-n, --namespace <name>', 'of this namespace (default: that of the current context)')
    .option('-R, --recursive', 'also files in folders within folders')
    .option('-S, --suppress <code=object>', 'leave out, like "IST0102=Namespace default"; may be repeated', gather, [])
    .option('--meshConfigFile <file>', "MeshConfig to use instead of the cluster's")
    .option('-L, --list-analyzers', 'list the analyzers')
    .option('--color [boolean]', 'istioctl has it; nothing is coloured here')
    .option('--ignore-unknown', 'istioctl has it; files that are not of Kubernetes are passed over anyway')
    .option('--timeout <duration>', 'istioctl has it; the cluster is asked once')
    .option('-i, --istioNamespace <name>', 'istioctl has it; the control plane is in istio-system')
    .option('--revision <name>', 'istioctl has it; there is one revision')
    .option('-v, --verbose', 'istioctl has it; there is no more to say')
    .addOption(levelOption('--failure-threshold <level>', 'fail from this level on', 'Error'))
    .addOption(levelOption('--output-threshold <level>', 'show from this level on', 'Info'))
    .addHelpText(
      'after',
      examples(
        'sampan mesh analyze -A',
        'sampan mesh analyze my-app.yaml',
        'sampan mesh analyze --use-kube=false *.yaml',
      ),
    )
    .action(async (files: string[], o: Common & AnalyzeFlags, command: Command) => {
      const { analyze, analyzerNames, atLeast, jsonOf, lineOf } = await import('./mesh-analyze.ts')
      if (o.listAnalyzers) return print(analyzerNames.join('\n'))
      const { findings, namespace } = await analyze({
        kubeconfig: kubeconfigPath(o),
        context: namedContext(o, command),
        files,
        recursive: o.recursive ?? false,
        useKube: o.useKube !== 'false',
        allNamespaces: o.allNamespaces ?? false,
        namespace: o.namespace ?? '',
        meshConfigFile: o.meshConfigFile,
        outputThreshold: o.outputThreshold,
        suppress: o.suppress,
      })
      if (o.output) printJson(findings.map(jsonOf))
      else for (const f of findings) print(lineOf(f))
      if (findings.length === 0 && !o.output)
        say(
          `✔ No validation issues found${files.length > 0 && o.useKube === 'false' ? '' : ` when analyzing ${namespace ? `namespace: ${namespace}` : 'all namespaces'}`}.`,
        )
      if (findings.some((f) => atLeast(f.level, o.failureThreshold))) process.exitCode = EXIT.findings
    })
  withCluster(mesh.command('status'))
    .description('how far every proxy has caught up, and what proxies have refused')
    .addHelpText('after', examples('sampan mesh status'))
    .action(async (o: Common, command: Command) => {
      const { meshStatus } = await import('./mesh-status.ts')
      const { proxies, refused } = await meshStatus(kubeconfigPath(o), namedContext(o, command))
      if (o.output) return printJson({ proxies, refused })
      print(
        table([
          ['NAME', 'CLUSTER', 'CDS', 'LDS', 'EDS', 'RDS'],
          ...proxies.map((p) => [p.name, p.cluster, ...p.states]),
        ]),
      )
      for (const [key, reason] of Object.entries(refused)) print(`refused by ${key}: ${reason}`)
      if (Object.keys(refused).length > 0) process.exitCode = EXIT.failed
    })
  withCluster(mesh.command('inject'))
    .description('write the objects of files with sidecars in their pods')
    .requiredOption('-f, --filename <file>', 'YAML file; - is the standard input')
    .option('-n, --namespace <name>', 'namespace of objects that name none', 'default')
    .option('--meshConfigFile <file>', 'MeshConfig to use instead of the defaults')
    .addHelpText('after', examples('sampan mesh inject -f app.yaml | kubectl apply -f -'))
    .action(async (o: Common & { filename: string; namespace: string; meshConfigFile?: string }) => {
      const { injectFile } = await import('./mesh-inject.ts')
      print(injectFile(o.filename, o.namespace, o.meshConfigFile))
    })

  const demo = root.command('demo').description('tutorials in one go')
  withCluster(demo.command('bookinfo'))
    .description('start a cluster if none runs, bring up bookinfo, print where to look')
    .addHelpText('after', examples('sampan demo bookinfo'))
    .action(async (o: Common) => {
      const { demoBookinfo, nextSteps } = await import('./demo.ts')
      const kubeconfig = kubeconfigPath(o)
      const url = await demoBookinfo({ name: o.name, dataDir: dataDirOf(o), kubeconfig })
      if (o.output) printJson({ url })
      else print(nextSteps(url, kubeconfig, o.name))
    })

  root
    .command('doctor')
    .description('tell what this machine lacks and how to mend it')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['json']))
    .addHelpText('after', examples('sampan doctor'))
    .action((o: { output?: string }) => {
      const findings = diagnose()
      if (o.output) printJson(findings)
      else
        print(
          table([
            ['CHECK', 'RESULT', 'DETAIL', 'FIX'],
            ...findings.map((f) => [f.name, f.ok ? 'ok' : 'missing', f.detail, f.fix ?? '']),
          ]),
        )
      if (findings.some((f) => !f.ok)) process.exitCode = EXIT.failed
    })

  root
    .command('version')
    .description('print versions')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['json']))
    .action((o: { output?: string }) => {
      const versions = { sampan: VERSION, kubernetes: KUBERNETES_VERSION, node: process.versions.node }
      if (o.output) printJson(versions)
      else print(`sampan ${versions.sampan} (Kubernetes API ${versions.kubernetes}, Node ${versions.node})`)
    })

  root
    .command('server', { hidden: true })
    .requiredOption('--name <name>')
    .requiredOption('--data-dir <folder>')
    .action(async (o: { name: string; dataDir: string }) => {
      const { runServer } = await import('./server.ts')
      try {
        await runServer(clusterOf(o.name, o.dataDir), { foreground: false })
      } catch (error) {
        process.stderr.write(`sampan: ${messageOf(error)}\n`)
        process.exit(EXIT.failed)
      }
    })
  return root
}

function summary(cluster: Cluster): { name: string; server: string; context: string; dataDir: string } {
  return {
    name: cluster.name,
    server: `https://127.0.0.1:${cluster.apiPort}`,
    context: contextName(cluster.name),
    dataDir: cluster.dataDir,
  }
}

function runningCluster(o: Common): Cluster {
  const cluster = clusterOf(o.name, dataDirOf(o))
  if (!serverState(cluster))
    throw new SampanError(
      'NotRunning',
      `Cannot reach the cluster "${o.name}": it is not running; start it with "sampan up"`,
    )
  return cluster
}

function residentBytes(pid: number): number {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024
}

/** Runs the command line; sets the exit code. */
export async function run(argv: readonly string[]): Promise<void> {
  try {
    await program().parseAsync(argv)
  } catch (error) {
    const code = (error as { code?: string }).code ?? ''
    if (code.startsWith('commander.')) {
      process.exitCode = (error as { exitCode?: number }).exitCode === 0 ? 0 : EXIT.usage
      return
    }
    process.stderr.write(`sampan: ${messageOf(error)}\n`)
    if (process.env.SAMPAN_DEBUG && error instanceof Error) process.stderr.write(`${error.stack}\n`)
    process.exitCode = code === 'NoCluster' || code === 'NotRunning' ? EXIT.notRunning : EXIT.failed
  }
}
