import type { RepairTraining } from '../../commands/options.ts'
import { UserError } from '../../ir/errors.ts'
import type { Result } from '../../result/result.ts'
import type { Repair, RepairChoices } from '../../rewrite/repairs/define-repair.ts'
import { type CommandContext, defineCommand } from '../define-command.ts'
import { exitCodes } from '../exit-codes.ts'
import { interruptible, unlessStopped } from '../interrupt.ts'
import { present, reportFiles } from '../present.ts'
import { readResults } from '../result-file.ts'
import { dataSettings, ruleSettings, runSettings } from '../settings.ts'
import { dataOf, dataOptions, given, ruleOptions, runOptions } from '../work-options.ts'
import { checkWritable, inputsOf } from '../write.ts'

/** A repaired copy of a model. */
export const fixCommand = defineCommand({
  name: 'fix',
  summary:
    'Repair a model: re-estimate the statistics of its batch normalizations, or replace or move its noise.',
  about:
    'Writes a new file; everything but what the repair names stays byte for byte. The repair is kept only if the measured gap shrinks and accuracy, where there are labels, does not fall; otherwise nothing is written and the exit code is 1. If nothing shifts, nothing is written either, and the exit code is 0. 64 to 256 samples like the training data, without labels, are enough for most networks. Repairs: recalibrate (default with data) re-estimates the running statistics with the noise off; distill (default without data) does so on inputs that it distils from the model itself, and refuses where they cannot be trusted; eval-mode clears training_mode and switches noise off that is always on, and leaves all numbers; move-dropout-after-last-norm, dropout-before-last-weight-layer, uout, gaussian and moment-preserving change the noise itself, for which the model then wants training: with data they re-estimate the statistics too, without data they only write the changed network. With --finetune or --retrain and labelled data the repaired model is also trained (AdamW, cosine) before its statistics are re-estimated, and judged on samples held out. auto tries them in order of cost (nothing, recalibrate or distill, then uout and move-dropout-after-last-norm with training) and keeps the first that closes the gap.',
  usage: '<model> [--data <spec>] -o <file>',
  takes: { what: 'one model file', least: 1, most: 1 },
  settings: [
    ...dataSettings,
    'repair',
    'passes',
    'tolerance',
    'lr',
    'augment',
    ...runSettings,
    ...ruleSettings,
    'format',
  ],
  flags: [
    ['-o, --output <file>', 'write the repaired model here; an old file is replaced'],
    ['--in-place', 'replace the model itself'],
    ['--dry-run', 'tell what a repair would change, and write nothing'],
    ['--from <file>', 'repair with statistics that `measure -o FILE` found elsewhere, in place of data'],
    ['--beta <number>', 'uout: half-width of the new noise, 0 to 1 (default: 0.1)'],
    ['--sigma <number>', 'gaussian: standard deviation of the new noise (default: 0.1)'],
    [
      '--ratio <number>',
      'move-dropout-after-last-norm, dropout-before-last-weight-layer, moment-preserving: dropped share (default: what was there)',
    ],
    [
      '--equal-variance <ratio>',
      'uout, gaussian: choose the strength at each place so that its layers are predicted to shift by this, such as 1.01',
    ],
    ['--position <place>', 'move-dropout-after-last-norm: before-classifier (default) or before-global-pool'],
    ['--finetune <epochs>', 'then train the repaired model on the labelled data, beginning with its weights'],
    ['--retrain <epochs>', 'the same, beginning with new weights'],
    ['--hold-out <share>', 'share of the data that is not trained on, to judge the repair by (default: 0.2)'],
    ['--budget <minutes>', 'auto: most minutes to train (default: 10)'],
    ['--force', 'keep the repair even if the gap does not shrink'],
    ['--html <file>', 'also write an HTML report'],
  ],
  examples: [
    ['varshift fix model.onnx --data images.npz -o fixed.onnx', 'the usual repair'],
    ['varshift fix model.onnx --data images.npz --samples 256 --dry-run', 'what it would do'],
    ['varshift fix model.onnx -o fixed.onnx', 'without any data, for convolutional networks'],
    ['varshift fix model.onnx --from shift.json -o fixed.onnx', 'with moments measured elsewhere'],
    [
      'varshift fix trained.onnx --repair eval-mode -o model.onnx',
      'a file that runs as it is meant to in use',
    ],
    ['varshift fix model.onnx --repair uout --beta 0.1 -o mild.onnx', 'milder noise, to train on with'],
    [
      'varshift fix model.onnx --repair auto --data train.npz --budget 5 -o fixed.onnx',
      'the cheapest repair that closes the gap',
    ],
    [
      'varshift fix model.onnx --repair uout --data train.npz --finetune 3 -o mild.onnx',
      'milder noise, and the model trained on with it',
    ],
  ],
  async run(context) {
    const { args, flags, settings, console, files } = context
    const [path] = args as [string]
    const output = await outputOf(context, path)
    const from = typeof flags.from === 'string' ? flags.from : undefined
    if (from !== undefined && settings.data !== undefined)
      console.note(`--from ${from} is used in place of the data ${settings.data}`)
    const wanted = await reportFiles(context, { model: flags.dryRun ? (flags.output as string) : output })
    const { repairCalled } = await import('../../rewrite/repairs/index.ts')
    const hasSource = from !== undefined || settings.data !== undefined
    const isAuto = settings.repair === 'auto'
    // Without data, what `auto` tries is the repair without data.
    const usual = hasSource ? 'recalibrate' : 'distill'
    const repair = repairCalled(isAuto ? usual : (settings.repair ?? usual))
    const choices = choicesOf(repair, context)
    const training = await trainingOf(context)
    const budgetMinutes = budgetOf(context)
    const source =
      from !== undefined
        ? { from: await statisticsIn(from, context) }
        : settings.data === undefined && repair.needs !== 'data' && !training
          ? {}
          : { data: dataOf(context, 'fix') }
    const rules = await ruleOptions(context)
    const [{ openModel }, { fix }, { save }] = await Promise.all([
      import('../../formats/open-model.ts'),
      import('../../commands/fix.ts'),
      import('../../commands/save.ts'),
    ])
    const { passes, tolerance } = settings
    return interruptible(console, async (signal) => {
      const file = await openModel(path, files)
      const options = {
        ...source,
        ...rules,
        ...dataOptions(context),
        ...runOptions(context, signal),
        repair: isAuto ? 'auto' : repair.id,
        choices,
        ...given({ training, budgetMinutes }),
        ...given({ passes, tolerance, force: flags.force === true ? true : undefined }),
      }
      const fixed = await unlessStopped(signal, fix(file, options, files))
      if (!fixed || signal.aborted) {
        console.error('varshift: stopped; nothing was written')
        return exitCodes.interrupted
      }
      let { result } = fixed
      if (fixed.chunks && output !== undefined) {
        await save(file, fixed.edits, output, files, { inPlace: flags.inPlace === true })
        if (result.repair) result = { ...result, repair: { ...result.repair, output } }
      }
      await present(context, [result], wanted)
      tellWhatWasWritten(result, output, context)
      const outcome = result.repair?.outcome
      return outcome === 'rejected' || outcome === 'refused' ? exitCodes.findings : exitCodes.fine
    })
  },
})

/** What the flags choose for the repair. Throws a UserError for a flag that means nothing to it. */
function choicesOf(repair: Repair, { flags }: CommandContext): RepairChoices {
  const numberOf = (name: string, flag: string) => {
    if (flags[name] === undefined) return undefined
    const value = Number(flags[name])
    if (flags[name] !== '' && Number.isFinite(value)) return value
    throw new UserError(`${flag} takes a number, got '${String(flags[name])}'`)
  }
  for (const name of ['beta', 'sigma', 'ratio'])
    if (flags[name] !== undefined && name !== repair.parameter)
      throw new UserError(`--${name} means nothing to --repair ${repair.id}`)
  const parameter = repair.parameter && numberOf(repair.parameter, `--${repair.parameter}`)
  const targetRatio = numberOf('equalVariance', '--equal-variance')
  if (targetRatio !== undefined && !(targetRatio > 1))
    throw new UserError(`--equal-variance takes a ratio above 1, such as 1.01, got ${targetRatio}`)
  if (targetRatio !== undefined && parameter !== undefined)
    throw new UserError(`--equal-variance and --${repair.parameter} contradict each other; give one of them`)
  if (targetRatio !== undefined && repair.parameter !== 'beta' && repair.parameter !== 'sigma')
    throw new UserError(`--equal-variance means nothing to --repair ${repair.id}`)
  const { position } = flags
  if (position !== undefined && repair.id !== 'move-dropout-after-last-norm')
    throw new UserError(`--position means nothing to --repair ${repair.id}`)
  if (position !== undefined && position !== 'before-classifier' && position !== 'before-global-pool')
    throw new UserError(`--position is before-classifier or before-global-pool, got '${String(position)}'`)
  return given({ parameter, targetRatio, position })
}

/** Most minutes of training; undefined if none are told. */
function budgetOf({ flags, settings }: CommandContext): number | undefined {
  const { budget } = flags
  if (budget === undefined) return undefined
  if (settings.repair !== 'auto') throw new UserError('--budget means nothing without --repair auto')
  const minutes = Number(budget)
  if (budget === '' || !(minutes > 0 && Number.isFinite(minutes)))
    throw new UserError(`--budget takes minutes, a number above 0, got '${String(budget)}'`)
  return minutes
}

/** How the repair trains; undefined if it does not. */
async function trainingOf({ flags, settings }: CommandContext): Promise<RepairTraining | undefined> {
  const { finetune, retrain, holdOut } = flags
  if (finetune !== undefined && retrain !== undefined)
    throw new UserError('--finetune and --retrain contradict each other; give one of them')
  const flag = finetune === undefined ? '--retrain' : '--finetune'
  const asked = finetune ?? retrain
  if (asked === undefined) {
    if (holdOut !== undefined) throw new UserError('--hold-out means nothing without --finetune or --retrain')
    return undefined
  }
  const epochs = Number(asked)
  if (asked === '' || !Number.isInteger(epochs) || epochs < 1)
    throw new UserError(`${flag} takes a whole number of epochs of at least 1, got '${String(asked)}'`)
  const heldOut = holdOut === undefined ? undefined : Number(holdOut)
  if (heldOut !== undefined && !(heldOut > 0 && heldOut < 1))
    throw new UserError(`--hold-out takes a share between 0 and 1, got '${String(holdOut)}'`)
  const { augment, lr } = settings
  const { parseAugment } = await import('../../data/augment.ts')
  return {
    epochs,
    fresh: finetune === undefined,
    ...given({
      heldOut,
      learningRate: lr,
      augment: augment === undefined ? undefined : parseAugment(augment),
    }),
  }
}

/** Where the repaired model goes; undefined for a dry run. */
async function outputOf(context: CommandContext, model: string): Promise<string | undefined> {
  const { flags, files } = context
  const { output, inPlace, dryRun } = flags
  const chosen = [output !== undefined && '-o', inPlace && '--in-place', dryRun && '--dry-run'].filter(
    Boolean,
  )
  if (chosen.length === 0)
    throw new UserError('where is the repaired model to go? give -o FILE, --in-place or --dry-run')
  if (output !== undefined && inPlace)
    throw new UserError('-o and --in-place contradict each other; give one of them')
  if (dryRun) return undefined
  if (inPlace) return model
  const path = output as string
  const isModel = async () =>
    (await files.stat(model)) !== undefined &&
    (await files.stat(path)) !== undefined &&
    (await files.realPath(path)) === (await files.realPath(model))
  if (await isModel())
    throw new UserError(`${path} is the model itself; give another name, or --in-place to replace it`)
  await checkWritable(path, inputsOf(context), files)
  return path
}

async function statisticsIn(path: string, { files }: CommandContext): Promise<Result> {
  const [result, ...others] = await readResults(path, files)
  if (result && others.length === 0) return result
  throw new UserError(`${path} holds the results of several models; give that of one`)
}

function tellWhatWasWritten(
  { repair }: Result,
  output: string | undefined,
  { console }: CommandContext,
): void {
  if (repair?.output) console.note(`wrote ${repair.output}`)
  else if (output === undefined) console.note('dry run: nothing was written')
  else console.note('nothing was written')
}
