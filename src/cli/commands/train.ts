import type { NetworkChoice, TrainCommandOptions } from '../../commands/options.ts'
import { UserError } from '../../ir/errors.ts'
import type { Result } from '../../result/result.ts'
import type { Choice } from '../../train/settings.ts'
import type { TrainEvent } from '../../train/trainer.ts'
import type { Config } from '../config.ts'
import type { Console } from '../console.ts'
import { type CommandContext, defineCommand } from '../define-command.ts'
import { exitCodes } from '../exit-codes.ts'
import { interruptible } from '../interrupt.ts'
import { present, type ReportFile, reportFiles } from '../present.ts'
import { dataSettings, trainSettings } from '../settings.ts'
import { dataOf, dataOptions, given } from '../work-options.ts'
import { checkWritable, inputsOf } from '../write.ts'

/** Training, from nothing or from a file. */
export const trainCommand = defineCommand({
  name: 'train',
  summary: 'Train a network by its name, or go on training a model from a file.',
  about:
    'A step is one ONNX graph that ONNX Runtime runs: batch, parameters and optimizer state in, loss, new parameters and state out. A model from a file is written back in its own format, with running statistics; a network is written as ONNX, ready for check and fix. With --checkpoint-dir a run that was stopped, by Ctrl-C or by a crash, goes on with --resume and ends with the very same parameters.',
  usage: '<network|model> --data <spec> -o <file>',
  takes: { what: 'the name of a network (preresnet-20) or a model file', least: 1, most: 1 },
  settings: [...dataSettings, ...trainSettings, 'seed', 'threads', 'format'],
  flags: [
    ['-o, --output <file>', 'write the trained model here; an old file is replaced'],
    ['--checkpoint-dir <folder>', 'write a checkpoint here after each epoch'],
    ['--checkpoint-every <steps>', 'and one every so many steps'],
    ['--resume <folder>', 'go on from the checkpoint there, with the settings of that run'],
    ['--log <file>', 'write a line of JSON for each step, epoch and checkpoint'],
  ],
  alone: ['resume'],
  examples: [
    [
      'varshift train preresnet-20 --data cifar10:DIR --validation cifar10:DIR#test --augment crop=4,flip --epochs 20 -o net.onnx',
      'from nothing',
    ],
    [
      'varshift train preresnet-20 --data cifar10:DIR --dropout 0.5 --placement before-norm -o net.onnx',
      'with dropout before the last norm of each block',
    ],
    ['varshift train model.onnx --data images.npz --epochs 3 --lr 1e-3 -o tuned.onnx', 'fine-tune a model'],
    ['varshift train --resume run/', 'go on with a run that was stopped'],
  ],
  async run(context) {
    const { console, files } = context
    const run = await runOf(context)
    const model = await sourceOf(run, context)
    if (run.output === undefined) throw new UserError('where is the trained model to go? give -o FILE')
    await checkWritable(
      run.output,
      [...inputsOf(context), ...('network' in model ? [] : [run.source])],
      files,
    )
    const wanted: ReportFile[] = await reportFiles(context, { model: run.output })
    const options = await optionsOf(run, context)
    const { train } = await import('../../commands/train.ts')
    const { save } = await import('../../commands/save.ts')
    const { openModel } = await import('../../formats/open-model.ts')
    return interruptible(console, async (signal) => {
      const source = 'network' in model ? model : await openModel(run.source, files)
      const follow = new Follower(console)
      const trained = await train(
        source,
        { ...options, signal, onEvent: (event) => follow.tell(event) },
        files,
      ).catch((error: unknown) => {
        if (signal.aborted && !(error instanceof UserError)) return undefined
        throw error
      })
      let result: Result | undefined = trained?.result
      if (!trained || !result || result.training?.ended === 'interrupted') {
        if (result) await present(context, [result], wanted)
        console.error(
          follow.checkpoint === undefined
            ? 'varshift: stopped; nothing was written (with --checkpoint-dir FOLDER a run can go on)'
            : `varshift: stopped; go on with: varshift train --resume ${run.checkpoints}`,
        )
        return exitCodes.interrupted
      }
      await save(trained.file, trained.edits, run.output!, files)
      result = { ...result, training: { ...result.training!, output: run.output! } }
      await present(context, [result], wanted)
      console.note(`wrote ${run.output}`)
      return exitCodes.fine
    })
  },
})

/** What a run is made of; it lies in its checkpoints, so that it can go on from them alone. */
interface Told {
  /** The name of a network, or the path of a file. */
  readonly source: string
  readonly output: string | undefined
  readonly checkpoints: string | undefined
  readonly checkpointEvery: number | undefined
  readonly log: string | undefined
  readonly settings: Config
  readonly resume: boolean
}

async function runOf({ args, flags, settings, files }: CommandContext): Promise<Told> {
  const text = (value: string | boolean | undefined) => (typeof value === 'string' ? value : undefined)
  const [output, log, folder] = [text(flags.output), text(flags.log), text(flags.resume)]
  if (folder === undefined) {
    const every = text(flags.checkpointEvery)
    if (every !== undefined && !(Number.isInteger(Number(every)) && Number(every) >= 1))
      throw new UserError(`--checkpoint-every is ${every}, expected a whole number of steps`)
    const checkpointEvery = every === undefined ? undefined : Number(every)
    const checkpoints = text(flags.checkpointDir)
    if (checkpoints !== undefined && (await files.stat(files.join(checkpoints, 'last.safetensors'))))
      throw new UserError(
        `${checkpoints} holds a checkpoint of another run; go on with it (--resume ${checkpoints}), or give another folder`,
      )
    return { source: args[0]!, output, log, checkpoints, checkpointEvery, settings, resume: false }
  }
  if (args.length > 0)
    throw new UserError('--resume goes on with the network or model of that run; leave the argument out')
  const { readCheckpoint } = await import('../../train/checkpoint.ts')
  const { path, state } = await readCheckpoint(folder, files)
  const note = state.note as Partial<Told> | null
  if (typeof note?.source !== 'string' || typeof note.settings !== 'object')
    throw new UserError(`${path} was not written by \`varshift train\`; go on with the program that wrote it`)
  const kept = note.settings
  // What does not change the outcome may be told anew.
  const { threads, device, format } = settings
  return {
    source: note.source,
    output: output ?? note.output,
    log: log ?? note.log,
    checkpoints: folder,
    checkpointEvery: note.checkpointEvery,
    settings: { ...kept, ...given({ threads, device, format }) } as Config,
    resume: true,
  }
}

/** A file if there is one of that name, else a network. */
async function sourceOf(
  { source, settings }: Told,
  { files }: CommandContext,
): Promise<NetworkChoice | { file: true }> {
  const { dropout, noise, placement } = settings
  if (dropout !== undefined && noise !== undefined)
    throw new UserError('--dropout and --noise contradict each other; give one of them')
  const chosen = dropout === undefined ? noise && noiseOf(noise) : { kind: 'dropout', value: dropout }
  if ((await files.stat(source))?.kind === 'file') {
    if (chosen || placement)
      throw new UserError(`${source} is a file: --dropout, --noise and --placement are for networks by name`)
    return { file: true }
  }
  const { parseNetwork } = await import('../../models/index.ts')
  if (/[\\/]|\.[a-z0-9]+$/i.test(source))
    throw new UserError(
      `there is no file '${source}'; give a model file, or the name of a network such as preresnet-20`,
    )
  parseNetwork(source)
  return { network: source, ...(chosen && { noise: chosen }), ...given({ placement }) }
}

function noiseOf(text: string): { kind: string; value: number } {
  const [kind = '', value = ''] = text.split('=')
  if (kind === '' || value === '' || !Number.isFinite(Number(value)))
    throw new UserError(
      `--noise is '${text}', expected a kind and its value, such as gaussian=0.5 or dropout=0.3`,
    )
  return { kind, value: Number(value) }
}

async function optionsOf(run: Told, context: CommandContext): Promise<TrainCommandOptions> {
  const { settings } = run
  const own = { ...context, settings }
  const { parseAugment } = await import('../../data/augment.ts')
  const { parseChoice } = await import('../../train/settings.ts')
  const optimizer = parseChoice(settings.optimizer ?? 'sgd')
  const { momentum, weightDecay } = settings
  const tuned: Choice = { ...optimizer, ...given({ momentum, weightDecay }) }
  const { batchSize, ...data } = dataOptions(own)
  const share = Number(settings.validation)
  const { epochs, lr, schedule, decay, clip, target, earlyStopping, freeze, seed, threads, device } = settings
  const { source, output, log, checkpointEvery, checkpoints } = run
  return {
    ...data,
    data: dataOf(own, 'train'),
    optimizer: tuned,
    ...given({
      batchSize,
      epochs,
      learningRate: lr,
      schedule,
      decay,
      clip,
      target,
      earlyStopping,
      freeze,
      seed,
      threads,
      device,
      loss: settings.loss?.split('+'),
      augment: settings.augment === undefined ? undefined : parseAugment(settings.augment),
      validation: settings.validation === undefined || Number.isNaN(share) ? settings.validation : share,
      statistics: settings.norms === 'keep' ? ('keep' as const) : undefined,
      checkpoints,
      checkpointEvery,
      log,
    }),
    resume: run.resume,
    note: { source, output, log, checkpointEvery, settings },
    onProgress: (state) => context.console.progress(state),
  }
}

/** Shows how a run goes: a line that is rewritten in a terminal, and one for each epoch. */
class Follower {
  checkpoint: string | undefined
  readonly #console: Console
  #steps = 0
  #perEpoch = 1
  #first = 0
  #startedAt = 0

  constructor(console: Console) {
    this.#console = console
  }

  tell(event: TrainEvent): void {
    switch (event.type) {
      case 'start':
        this.#steps = event.steps
        this.#perEpoch = event.stepsPerEpoch
        this.#first = event.step
        this.#startedAt = performance.now()
        if (event.step > 0) this.#console.note(`going on at step ${event.step} of ${event.steps}`)
        break
      case 'step': {
        const done = event.step - this.#first
        const stepMs = (performance.now() - this.#startedAt) / done
        const left = minutes((this.#steps - event.step) * stepMs)
        const epochs = Math.round(this.#steps / this.#perEpoch)
        this.#console.progress({
          phase: `epoch ${event.epoch} of ${epochs}, loss ${event.loss.toPrecision(4)}, ${(1000 / stepMs).toFixed(1)} steps a second, ${left} left; step`,
          done: event.step,
          of: this.#steps,
        })
        break
      }
      case 'epoch': {
        const side = ({ loss, accuracy }: { loss: number | null; accuracy: number | null }) =>
          `loss ${loss === null ? 'not finite' : loss.toPrecision(4)}${accuracy === null ? '' : `, accuracy ${(100 * accuracy).toFixed(1)} %`}`
        const validation = event.validation ? `; validation ${side(event.validation)}` : ''
        this.#console.note(
          `epoch ${event.epoch}: ${side(event.train)}${validation}; ${(event.durationMs / 1000).toFixed(1)} s`,
        )
        break
      }
      case 'checkpoint':
        this.checkpoint = event.path
        break
      case 'end':
        break
    }
  }
}

const minutes = (ms: number): string => {
  const seconds = Math.round(ms / 1000)
  if (seconds < 90) return `${seconds} s`
  const whole = Math.round(seconds / 60)
  return whole < 90 ? `${whole} min` : `${Math.floor(whole / 60)} h ${whole % 60} min`
}
