import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { UserError } from '../../ir/errors.ts'
import { type Budget, budgets } from '../../result/study.ts'
import { type CommandContext, defineCommand } from '../define-command.ts'
import { exitCodes } from '../exit-codes.ts'
import { interruptible } from '../interrupt.ts'
import { presentStudy } from '../present-study.ts'
import { formOf } from '../render.ts'
import { checkWritable, writeText } from '../write.ts'

/** Finished cells are kept here unless `--store` says otherwise. */
const defaultStore = 'varshift-studies'

const aboutStore =
  'Finished cells of `varshift study`. Deleting them costs no more than the time to run them again.\n'

/** Runs an experiment. */
export const studyCommand = defineCommand({
  name: 'study',
  summary: 'Run a declared experiment that reproduces a published table or answers an open question.',
  about: `A study is a grid of independent cells. They run in worker processes; each finished one is kept in a folder (${defaultStore}), so that an interrupted study goes on where it stopped and no cell runs twice. \`varshift study list\` shows what there is.`,
  usage: '<id|list>',
  takes: { what: 'the id of one study, or list', least: 1, most: 1 },
  settings: ['data', 'threads', 'format'],
  flags: [
    ['--budget <size>', `how much is run: ${budgets.join(', ')} (default: smoke)`],
    ['--workers <count>', 'cells that run at the same time (default: one a core)'],
    ['--store <folder>', `where finished cells are kept (default: ${defaultStore})`],
    ['-o, --output <file>', 'also write the result to a .json, .html or .txt file'],
    ['--html <file>', 'also write the page of the study'],
  ],
  examples: [
    ['varshift study list', 'claim, source, cells and cost of each'],
    ['varshift study formula --budget small', 'every closed form against simulation'],
  ],
  async run(context) {
    const [id] = context.args as [string]
    const { console, files, flags, settings } = context
    const { studies, studyCalled } = await import('../../studies/index.ts')
    if (id === 'list') {
      console.out(await listing(context, studies))
      return exitCodes.fine
    }
    const study = studyCalled(id)
    const budget = oneOf(flags.budget ?? 'smoke')
    const workers = countOf(flags.workers ?? String(cpus().length))
    const threads = settings.threads ?? 1
    const outputs: string[] = []
    for (const path of [flags.output, flags.html])
      if (typeof path === 'string') {
        await checkWritable(path, outputs, files)
        formOf(path)
        outputs.push(path)
      }
    const store = typeof flags.store === 'string' ? flags.store : defaultStore
    await files.createFolder(store)
    // A folder that cannot be written is better found now than after the first cell.
    await writeText(join(store, 'about.txt'), aboutStore, files)

    const [{ runStudy }, { folderStore }, { processQueue }, { nodeWorkers }, data] = await Promise.all([
      import('../../studies/runner/run-study.ts'),
      import('../../studies/runner/store.ts'),
      import('../../studies/runner/process-queue.ts'),
      import('../../platform/node-workers.ts'),
      import('../../studies/data.ts'),
    ])
    const spec = study.needsData ? (settings.data ?? data.standardData) : undefined
    const worker = fileURLToPath(new URL('../study-worker.js', import.meta.url))
    const queue = processQueue(nodeWorkers(worker, [String(threads)]), workers)
    let interrupted = false
    const result = await interruptible(console, async (signal) => {
      try {
        const hash = spec === undefined ? undefined : await data.hashOfData(spec, files, signal)
        return await runStudy(study, {
          budget,
          queue,
          store: folderStore(store, files),
          data: spec === undefined || hash === undefined ? undefined : { spec, hash },
          command: `varshift study ${id} --budget ${budget}${spec === undefined ? '' : ` --data ${spec}`}`,
          machine: machine(workers, threads),
          signal,
          onProgress: ({ done, of, secondsLeft }) =>
            console.progress({ phase: `${id}${left(secondsLeft)}`, done, of }),
        })
      } finally {
        interrupted = signal.aborted
        await queue.close()
      }
    })
    await presentStudy(
      context,
      result,
      outputs.map((path) => ({ path, form: formOf(path) })),
    )
    if (interrupted) {
      console.error(`varshift: stopped; the same command goes on from ${store}`)
      return exitCodes.interrupted
    }
    return result.notRun > 0 ? exitCodes.findings : exitCodes.fine
  },
})

async function listing(
  { settings, console }: CommandContext,
  studies: readonly import('../../studies/define-study.ts').Study[],
): Promise<string> {
  const list = studies.map(({ id, claim, source, needsData, minutes, grid }) => ({
    id,
    claim,
    source,
    needsData,
    budgets: Object.fromEntries(
      budgets.map((budget) => [budget, { cells: grid(budget).length, minutes: minutes[budget] }]),
    ),
  }))
  if (settings.format === 'json') return `${JSON.stringify(list, undefined, 2)}\n`
  const { paintWith } = await import('../../report/terminal/paint.ts')
  const paint = paintWith(console.color)
  return list
    .map(({ id, claim, source, budgets }) =>
      [
        paint.bold(id),
        `  ${claim}`,
        paint.dim(`  ${source}`),
        paint.dim(
          `  ${Object.entries(budgets)
            .map(([name, { cells, minutes }]) => `${name}: ${cells} cells, about ${minutes} min`)
            .join('; ')}`,
        ),
        '',
      ].join('\n'),
    )
    .join('\n')
}

function oneOf(text: string | boolean): Budget {
  const budget = budgets.find((budget) => budget === text)
  if (!budget) throw new UserError(`--budget is one of ${budgets.join(', ')}, got '${text}'`)
  return budget
}

function countOf(text: string | boolean): number {
  const count = Number(text)
  if (!Number.isInteger(count) || count < 1 || count > 256)
    throw new UserError(`--workers takes a whole number from 1 to 256, got '${text}'`)
  return count
}

const left = (seconds: number | undefined) =>
  seconds === undefined
    ? ''
    : seconds < 90
      ? `, ${Math.round(seconds)} s left`
      : `, ${Math.round(seconds / 60)} min left`

const machine = (workers: number, threads: number) =>
  `${cpus()[0]?.model ?? 'unknown processor'}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB; workers: ${workers}, threads each: ${threads}`
