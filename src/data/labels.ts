import { UserError } from '../ir/errors.ts'
import { elementCount, type Tensor } from '../ir/tensor.ts'
import type { Column } from './column.ts'

/**
 * Labels out of a tensor of n x 1 or n whole numbers, or of n x C rows that are 0 but for a single 1.
 * Throws a UserError naming the first sample (the tensor begins at sample `start`) that is neither.
 */
export function toLabels(tensor: Tensor, where: string, start: number): Int32Array {
  const size = tensor.dims[0]!
  const classes = elementCount(tensor.dims.slice(1))
  const values = tensor.toNumbers()
  const labels = new Int32Array(size)
  for (let i = 0; i < size; i++) {
    const row = values.subarray(i * classes, (i + 1) * classes)
    const label = classes === 1 ? row[0]! : row.indexOf(1)
    const oneHot = classes === 1 || row.every((value, j) => value === (j === label ? 1 : 0))
    if (label !== (label | 0) || !oneHot || (classes > 1 && label < 0))
      throw new UserError(
        `${where} holds ${classes === 1 ? label : 'a row that is not one-hot'} for sample ${start + i}, ` +
          'expected class numbers from 0 on, or one-hot rows; give the labels as whole numbers',
      )
    labels[i] = label
  }
  return labels
}

/** Throws a UserError if a column cannot be labels by its form alone. */
export function checkLabelColumn(column: Column): Column {
  const { where, dataType, sampleShape, size } = column
  if (sampleShape.length > 1)
    throw new UserError(
      `${where} holds ${[size, ...sampleShape].join(' x ')} ${dataType}, expected labels of shape ` +
        `${size}, ${size} x 1, or one-hot ${size} x classes; give another array as the labels`,
    )
  return column
}

/**
 * Throws a UserError unless every label is from 0 to `classes` - 1.
 * Label i is that of sample `numberOf(i)` of the dataset called `name`.
 */
export function checkLabels(
  labels: Int32Array,
  classes: number,
  { name = 'the data', numberOf = (i) => i }: { name?: string; numberOf?: (i: number) => number } = {},
): void {
  const at = labels.findIndex((label) => label < 0 || label >= classes)
  if (at >= 0)
    throw new UserError(
      `${name}: sample ${numberOf(at)} has label ${labels[at]}, expected 0 to ${classes - 1} as the model has ` +
        `${classes} classes; check that data and model belong together and that labels are counted from 0`,
    )
}
