import { adapt } from '../data/adapt.ts'
import type { Model } from '../ir/model.ts'
import { autoencoder } from '../models/index.ts'
import type { Budget } from '../result/study.ts'
import { toMode } from '../rewrite/modes/mode.ts'
import { createSession } from '../runtime/session.ts'
import { trainer } from '../train/trainer.ts'
import { outcomesOf } from './classifier.ts'
import { defineStudy } from './define-study.ts'
import { pictures, shapeOf } from './pictures.ts'
import { meanOf, meanText } from './statistics.ts'

/** Share of the time that a hidden unit should be active. */
const target = 0.05

const logit = (p: number) => Math.log(p / (1 - p))

/**
 * Norm in front of the code's sigmoid (where its beta starts, or none), and the KL penalty, 1 standing for 3 times half
 * the summed squared error, which is 6 / inputs times its mean.
 */
const variants = {
  'KL alone': { beta: null, penalty: 1 },
  'BN at 0': { beta: 0, penalty: 0 },
  'BN at 0, KL': { beta: 0, penalty: 1 },
  'BN at logit': { beta: logit(target), penalty: 0 },
  'BN at logit, KL': { beta: logit(target), penalty: 1 },
  'BN at -3.5': { beta: -3.5, penalty: 0 },
  'BN at -3.5, KL': { beta: -3.5, penalty: 1 },
} as const

type Cell = {
  readonly variant: keyof typeof variants
  readonly images: number
  readonly halvings: number
  readonly epochs: number
  readonly code: number
  readonly seed: number
}

type Found = {
  /** Mean activity of the code after each epoch, and squared error of the reconstruction, on held-out pictures. */
  readonly activity: readonly number[]
  readonly error: readonly number[]
  /** Shares of units at the end: on for less than 0.1 % of the mean target, and on for more than half. */
  readonly deadPercent: number
  readonly saturatedPercent: number
  /** Share of activations in tenths of 0..1. */
  readonly histogram: readonly number[]
  /** Weights of the first units, drawn (base64 of height x width x 3 bytes), and their size; of the first seed only. */
  readonly filters: readonly string[]
  readonly width: number
  readonly height: number
}

/** Units whose weights are drawn. */
const drawn = 16

/** Weights of the code's first units as pictures. */
function filtersOf({ graph }: Model, [channels, height, width]: readonly [number, number, number]): string[] {
  const weights = graph.initializers.get('encoder.code.linear.weight')!.toNumbers()
  const [inputs, plane] = [channels * height * width, height * width]
  return Array.from({ length: drawn }, (_, unit) => {
    const own = weights.subarray(unit * inputs, (unit + 1) * inputs)
    const largest = own.reduce((most, w) => Math.max(most, Math.abs(w)), 0) || 1
    const bytes = Array.from({ length: 3 * plane }, (_, i) =>
      Math.round(127.5 * (1 + own[(channels === 3 ? i % 3 : 0) * plane + Math.floor(i / 3)]! / largest)),
    )
    return btoa(String.fromCharCode(...bytes))
  })
}

/** Dashed in figures, beside the same norm without the penalty. */
const isPenalised = (variant: Cell['variant']) =>
  variants[variant].beta !== null && variants[variant].penalty > 0

/** Epochs after which mean activity first is within a fifth of the target. */
const reached = ({ activity }: Found): number | null => {
  const epoch = activity.findIndex((value) => Math.abs(value / target - 1) < 0.2)
  return epoch < 0 ? null : epoch + 1
}

/**
 * A sparse autoencoder wants its hidden units mostly off. Does a BN in front of the sigmoid whose beta starts at
 * logit(target) = -2.94, or at -3.5, get there faster than the KL penalty alone, and what does it cost?
 */
export const sparseAutoencoder = defineStudy<Cell, Found>({
  id: 'sparse-autoencoder',
  claim:
    'A BN with beta started at logit(target) reaches the target activity faster than the KL penalty alone.',
  source: 'docs/theory.md, open question 3; the penalty: Ng, Sparse autoencoder, CS294A notes',
  method: `Dense autoencoder with one sigmoid code layer, target activity ${target}, mean squared error, plus 6 / inputs times KL where there is a penalty (Ng's beta of 3), Adam at 0.002; activity and reconstruction on held-out pictures after each epoch.`,
  needsData: true,
  minutes: { smoke: 1, small: 10, paper: 200 },
  grid: (budget: Budget) => {
    const size = {
      smoke: { images: 512, halvings: 2, epochs: 2, code: 32, seeds: 1 },
      small: { images: 4000, halvings: 1, epochs: 10, code: 128, seeds: 3 },
      paper: { images: 50_000, halvings: 0, epochs: 60, code: 400, seeds: 5 },
    }[budget]
    const { seeds, ...rest } = size
    return (Object.keys(variants) as Cell['variant'][]).flatMap((variant) =>
      Array.from({ length: seeds }, (_, i) => ({ variant, ...rest, seed: i + 1 })),
    )
  },
  experiment: {
    id: 'sparse-autoencoder',
    version: 2,
    async run(cell, context) {
      const { threads, signal } = context
      const { beta, penalty } = variants[cell.variant]
      const train = await pictures('train', { samples: cell.images, halvings: cell.halvings }, context)
      const test = await pictures('test', { samples: 500, halvings: cell.halvings }, context)
      const input = shapeOf(train)
      const inputs = input.reduce((n, d) => n * d, 1)
      const net = autoencoder.build(
        { sizes: [inputs, cell.code], codeNorm: beta === null ? false : { shift: beta } },
        { input, seed: cell.seed },
      )
      const run = await trainer(net.model, {
        data: train,
        epochs: cell.epochs,
        batchSize: 64,
        optimizer: 'adam',
        learningRate: 2e-3,
        loss:
          penalty > 0
            ? [
                'mse',
                `kl-sparsity:at=encoder.code.activation,target=${target},weight=${(6 * penalty) / inputs}`,
              ]
            : 'mse',
        target: 'input',
        seed: cell.seed,
        threads,
        signal,
      })
      const activity: number[] = []
      const error: number[] = []
      let last: Awaited<ReturnType<typeof look>> | undefined
      const look = async () => {
        const model = toMode(run.model(), 'eval')
        const wanted = model.graph.inputs.map(({ name, type }) => ({
          name,
          dataType: 'float32' as const,
          shape: type?.shape,
        }))
        const session = await createSession(model, { threads })
        const codes: Float64Array[] = []
        let [squares, count] = [0, 0]
        for await (const { inputs: fed } of adapt(test, wanted, { batchSize: 100 }).batches()) {
          const out = await session.run(fed)
          const x = fed.get(wanted[0]!.name)!.toNumbers()
          out
            .get('reconstruction')!
            .toNumbers()
            .forEach((y, i) => {
              squares += (y - x[i]!) ** 2
            })
          count += x.length
          codes.push(out.get('code')!.toNumbers())
        }
        await session.release()
        return { codes, error: squares / count }
      }
      for await (const event of run) {
        if (event.type !== 'epoch') continue
        last = await look()
        const all = last.codes.flatMap((code) => [...code])
        activity.push(meanOf(all))
        error.push(last.error)
      }
      signal.throwIfAborted()
      const all = last!.codes.flatMap((code) => [...code])
      const units = Array.from({ length: cell.code }, (_, unit) =>
        meanOf(all.filter((_, i) => i % cell.code === unit)),
      )
      const histogram = new Array<number>(10).fill(0)
      for (const value of all) histogram[Math.min(9, Math.floor(10 * value))]! += 1 / all.length
      const share = (test: (mean: number) => boolean) => (100 * units.filter(test).length) / units.length
      return {
        activity,
        error,
        filters: cell.seed === 1 ? filtersOf(run.model(), input) : [],
        height: input[1],
        width: input[2],
        deadPercent: share((mean) => mean < 0.001 * target),
        saturatedPercent: share((mean) => mean > 0.5),
        histogram,
      }
    },
  },
  summarise(cells) {
    const names = Object.keys(variants) as Cell['variant'][]
    const told = names.flatMap((variant) => {
      const found = outcomesOf(cells, { variant })
      return found.length === 0 ? [] : [{ variant, found }]
    })
    const epochs = (found: readonly Found[]) => {
      const counts = found.map(reached)
      return counts.some((count) => count === null) ? null : meanOf(counts as number[])
    }
    const curve = (
      title: string,
      label: string,
      pick: (o: Found) => readonly number[],
      scale: 'linear' | 'log',
    ) => ({
      title,
      x: { label: 'epoch', scale: 'linear' as const },
      y: { label, scale },
      series: told.map(({ variant, found }) => ({
        name: variant,
        dashed: isPenalised(variant),
        points: pick(found[0]!).map((_, i) => ({ x: i + 1, y: meanOf(found.map((o) => pick(o)[i]!)) })),
      })),
    })
    const alone = told.find(({ variant }) => variant === 'KL alone')
    return {
      tables: [
        {
          title: 'Activity and reconstruction',
          columns: [
            'code layer',
            'epochs to target activity',
            'activity after 1 epoch',
            'activity at the end',
            'squared error at the end',
            'dead units %',
            'saturated units %',
            'activations below 0.1, %',
            'seeds',
          ],
          rows: told.map(({ variant, found }) => [
            variant,
            epochs(found),
            meanText(
              found.map((o) => o.activity[0]!),
              3,
            ),
            meanText(
              found.map((o) => o.activity.at(-1)!),
              3,
            ),
            meanText(
              found.map((o) => o.error.at(-1)!),
              4,
            ),
            meanText(
              found.map((o) => o.deadPercent),
              1,
            ),
            meanText(
              found.map((o) => o.saturatedPercent),
              1,
            ),
            100 * meanOf(found.map((o) => o.histogram[0]!)),
            found.length,
          ]),
          note: `Target activity ${target}; reached within a fifth of it. –: not reached by every seed.`,
        },
      ],
      figures: [
        curve('Mean activity of the code', 'activity', (o) => o.activity, 'log'),
        curve('Reconstruction', 'squared error', (o) => o.error, 'log'),
        {
          title: 'Activations at the end',
          x: { label: 'activation', scale: 'linear' },
          y: { label: 'share', scale: 'log' },
          series: told.map(({ variant, found }) => ({
            name: variant,
            dashed: isPenalised(variant),
            points: found[0]!.histogram.map((_, i) => {
              const y = meanOf(found.map((o) => o.histogram[i]!))
              return { x: (i + 0.5) / 10, y: y > 0 ? y : null }
            }),
          })),
        },
      ],
      galleries: [
        {
          title: 'Filters',
          width: told[0]?.found[0]?.width ?? 0,
          height: told[0]?.found[0]?.height ?? 0,
          rows: told.map(({ variant, found }) => ({
            name: variant,
            images: found.flatMap(({ filters }) => filters),
          })),
          note: `Weights from the picture to the first ${drawn} units of the code, of the first seed: mid-grey is 0, and each unit is scaled by its own largest weight.`,
        },
      ],
      conclusions: told
        .filter(({ variant }) => variant !== 'KL alone')
        .map(({ variant, found }) => {
          const own = epochs(found)
          const base = alone && epochs(alone.found)
          const compared =
            alone === undefined
              ? ''
              : `, KL alone ${base === null ? 'not in the epochs run' : `after ${base!.toFixed(1)}`}; squared error ${meanOf(found.map((o) => o.error.at(-1)!)).toFixed(4)} against ${meanOf(alone.found.map((o) => o.error.at(-1)!)).toFixed(4)}`
          return `${variant}: target activity ${own === null ? 'not reached in the epochs run' : `after ${own.toFixed(1)} epochs`}${compared}.`
        }),
    }
  },
})
