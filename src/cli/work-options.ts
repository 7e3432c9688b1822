import type { CheckOptions, DataOptions, RunOptions } from '../commands/options.ts'
import { UserError } from '../ir/errors.ts'
import type { CommandContext } from './define-command.ts'

/** The object without its undefined entries, which exact optional properties do not take. */
type Given<T> = { [Name in keyof T]?: Exclude<T[Name], undefined> }
export const given = <T extends object>(values: T): Given<T> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Given<T>

/** Options for the rules. Throws a UserError for a rule that does not exist, before any work is done. */
export async function ruleOptions({ settings }: CommandContext): Promise<CheckOptions> {
  const { select, ignore, severity } = settings
  const { ruleOf } = await import('../rules/index.ts')
  for (const id of [...(select ?? []), ...(ignore ?? []), ...Object.keys(severity ?? {})]) ruleOf(id)
  return given({ select, ignore, severity })
}

/** Options for the data, but where it is. */
export function dataOptions({ settings }: CommandContext): Omit<DataOptions, 'data'> {
  const { imageSize, channels, labels, samples, batchSize, scale, mean, std, layout, repeatGrey } = settings
  return given({
    labels,
    samples,
    batchSize,
    scale,
    mean,
    std,
    layout,
    repeatGrey,
    height: imageSize?.[0],
    width: imageSize?.[1],
    channels: channels === undefined ? undefined : channels === '1' ? (1 as const) : (3 as const),
  })
}

export function runOptions(
  { settings, console }: CommandContext,
  signal: AbortSignal,
): RunOptions & { modeSamples?: number } {
  const { seed, threads, modeSamples } = settings
  return {
    ...given({ seed, threads, modeSamples }),
    signal,
    onProgress: (state) => console.progress(state),
  }
}

/** The data asked for. Throws a UserError if there is none. */
export function dataOf({ settings }: CommandContext, command: string): string {
  if (settings.data !== undefined) return settings.data
  throw new UserError(
    `${command} needs samples to run the model on: --data FILE (.npz, .npy, IDX, CIFAR), --data FOLDER of pictures, or --data shapes:count=1000 to try it out`,
  )
}
