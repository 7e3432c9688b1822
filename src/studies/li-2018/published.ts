import type { Family } from '../classifier.ts'

/**
 * Figures that Li et al. (arXiv:1801.05134) print or draw, for CIFAR-10. Figure 4 is read off its drawing, to 0.03
 * points of error and 0.01 of ratio; a value that the figure clips is null.
 */

/** Ratios of figure 4. */
export const ratios = [0, 0.1, 0.3, 0.5, 0.7] as const

type Curves = Readonly<Record<'a' | 'b', Readonly<Record<Family, readonly (number | null)[]>>>>

/** Test error in percent. */
export const figure4Error: Curves = {
  a: {
    PreResNet: [4.91, 5.15, 5.87, 8.42, 14.51],
    ResNeXt: [3.77, 3.86, 4.1, 4.43, 4.57],
    WRN: [3.98, 3.91, 3.99, 4.59, 10.25],
    DenseNet: [4.83, 4.63, 5.55, 8.7, 18.1],
  },
  b: {
    PreResNet: [5.1, 5.06, 5.29, 5.85, 7.22],
    ResNeXt: [3.77, 3.81, 3.76, 4.09, 4.91],
    WRN: [3.97, 3.84, 3.81, 3.81, 4.38],
    DenseNet: [4.66, 4.67, 4.92, 5.63, 7.18],
  },
}

/** Mean shift ratio over layers. */
export const figure4Ratio: Curves = {
  a: {
    PreResNet: [1.0, 1.04, 1.16, 1.4, null],
    ResNeXt: [1.01, 1.05, 1.18, 1.39, 1.78],
    WRN: [1.01, 1.08, 1.19, 1.37, 2.14],
    DenseNet: [1.01, 1.07, 1.22, 1.49, 2.03],
  },
  b: {
    PreResNet: [1.0, 1.02, 1.03, null, null],
    ResNeXt: [1.01, 1.01, 1.03, 1.06, null],
    WRN: [1.02, 1.01, 1.02, 1.03, 1.05],
    DenseNet: [1.01, 1.01, 1.02, 1.02, 1.05],
  },
}

/** Test error in percent at ratio 0.5, as trained and with the statistics re-estimated. */
export const table3: Readonly<Record<'a' | 'b', Readonly<Record<Family, readonly [number, number]>>>> = {
  a: { PreResNet: [8.42, 6.42], ResNeXt: [4.43, 3.96], WRN: [4.59, 4.2], DenseNet: [8.7, 6.82] },
  b: { PreResNet: [5.85, 5.77], ResNeXt: [4.09, 3.93], WRN: [3.81, 3.71], DenseNet: [5.63, 5.29] },
}

/** d cos^2, mean over convolutions of networks trained without Dropout. */
export const table1: Readonly<Record<Family, number>> = {
  PreResNet: 2.91827,
  ResNeXt: 14.78266,
  WRN: 52.7355,
  DenseNet: 3.8339,
}

/** Accuracy on the training data in train and in eval mode, percent, placement a, ratio 0.5. */
export const figure5: Readonly<Partial<Record<Family, readonly [number, number]>>> = {
  PreResNet: [98.8, 98.5],
  DenseNet: [99.4, 96.8],
}

/** Ratios of table 4 and half-widths of table 6. */
export const table4Ratios = [0, 0.1, 0.2, 0.3, 0.5] as const
export const table6Betas = [0, 0.1, 0.2, 0.3, 0.5] as const

/** Test error in percent, one Dropout after the last norm. */
export const table4: Readonly<Record<Family, readonly number[]>> = {
  PreResNet: [5.02, 4.96, 5.01, 4.94, 5.03],
  ResNeXt: [3.77, 3.89, 3.69, 3.78, 3.78],
  WRN: [3.97, 3.9, 4.0, 3.93, 3.84],
  DenseNet: [4.72, 4.67, 4.73, 4.75, 4.87],
}

/** Test error in percent, Uout in placement b. */
export const table6: Readonly<Record<Family, readonly number[]>> = {
  PreResNet: [5.02, 5.02, 4.85, 4.98, 4.97],
  ResNeXt: [3.77, 3.84, 3.83, 3.75, 3.79],
  WRN: [3.97, 3.96, 3.8, 3.9, 3.84],
  DenseNet: [4.72, 4.7, 4.64, 4.68, 4.61],
}
