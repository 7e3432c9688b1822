import { UserError } from '../../ir/errors.ts'
import { byteLengthOf, type DataType, dataTypes, elementCount, Tensor } from '../../ir/tensor.ts'

/** The bytes that tensors are views of: a member of an archive, or a stretch of a file. */
export interface Storage {
  /** Where it is kept, for writing: the name of a member, or of nothing else in the file. */
  readonly key: string
  readonly sizeBytes: number
  read(): Uint8Array
}

/** A view of a storage, as PyTorch states it. */
export interface StoredTensor {
  readonly name: string
  readonly dataType: DataType
  readonly sizes: readonly number[]
  /** In elements, like `offset`. */
  readonly strides: readonly number[]
  readonly offset: number
  readonly storage: Storage
}

const maxRank = 64

/** Checks a view against what its storage holds. Throws a UserError. */
export function viewOf(tensor: StoredTensor): StoredTensor {
  const { name, dataType, sizes, strides, offset, storage } = tensor
  const whole = (values: readonly number[]) => values.every((v) => Number.isSafeInteger(v) && v >= 0)
  const count = elementCount(sizes)
  const refuse = (reason: string) =>
    new UserError(
      `tensor '${name}' of ${dataType} [${sizes.slice(0, 8).join(', ')}] ${reason}; the file is damaged: save it again`,
    )
  if (sizes.length > maxRank || !whole(sizes) || !Number.isSafeInteger(count * 16))
    throw refuse('has an impossible shape')
  if (strides.length !== sizes.length || !whole(strides) || !whole([offset]))
    throw refuse(`has impossible strides [${strides.slice(0, 8).join(', ')}] or offset ${offset}`)
  const width = dataTypes[dataType].bits / 8
  const last = offset + sizes.reduce((sum, size, axis) => sum + (size - 1) * strides[axis]!, 0)
  if (count > 0 && (last + 1) * width > storage.sizeBytes)
    throw refuse(`needs ${(last + 1) * width} bytes of its storage, which holds ${storage.sizeBytes}`)
  // A stride of 0 repeats elements: a few bytes would become as much memory as the shape claims.
  if (count * width > Math.max(2 ** 24, 64 * storage.sizeBytes))
    throw refuse(`is spread out of a storage of ${storage.sizeBytes} bytes, more than is unpacked`)
  return tensor
}

const isContiguous = ({ sizes, strides }: StoredTensor): boolean => {
  let expected = 1
  for (let axis = sizes.length - 1; axis >= 0; axis--) {
    if (sizes[axis]! > 1 && strides[axis] !== expected) return false
    expected *= sizes[axis]!
  }
  return true
}

/** Calls `visit` with the byte offset of every element, row-major. */
function eachElement(
  { sizes, strides, offset }: StoredTensor,
  width: number,
  visit: (at: number) => void,
): void {
  const index = sizes.map(() => 0)
  let at = offset
  for (let left = elementCount(sizes); left > 0; left--) {
    visit(at * width)
    for (let axis = sizes.length - 1; axis >= 0; axis--) {
      at += strides[axis]!
      if (++index[axis]! < sizes[axis]!) break
      at -= strides[axis]! * sizes[axis]!
      index[axis] = 0
    }
  }
}

/** The tensor that a view stands for; nothing is copied before its elements are asked for, or at all if they lie in order. */
export function tensorOf(view: StoredTensor): Tensor {
  const { dataType, sizes, offset, storage } = view
  const width = dataTypes[dataType].bits / 8
  const length = byteLengthOf(dataType, sizes)
  if (isContiguous(view))
    return new Tensor(dataType, sizes, () => storage.read().subarray(offset * width, offset * width + length))
  return new Tensor(dataType, sizes, () => {
    const from = storage.read()
    const bytes = new Uint8Array(length)
    let to = 0
    eachElement(view, width, (at) => {
      for (let i = 0; i < width; i++) bytes[to++] = from[at + i]!
    })
    return bytes
  })
}

/** Puts the elements of `tensor` where the view has them in `bytes`, its storage. */
export function scatter(view: StoredTensor, tensor: Tensor, bytes: Uint8Array): void {
  const width = dataTypes[view.dataType].bits / 8
  let from = 0
  eachElement(view, width, (at) => {
    for (let i = 0; i < width; i++) bytes[at + i] = tensor.bytes[from++]!
  })
}

/** Whether two views are of the same elements in the same order. */
export const isSameView = (a: StoredTensor, b: StoredTensor): boolean =>
  a.storage.key === b.storage.key &&
  a.dataType === b.dataType &&
  a.offset === b.offset &&
  String(a.sizes) === String(b.sizes) &&
  String(a.strides) === String(b.strides)

/** Whether two views may share elements: their stretches of the storage meet. */
export function overlap(a: StoredTensor, b: StoredTensor): boolean {
  if (a.storage.key !== b.storage.key) return false
  const stretch = ({ dataType, sizes, strides, offset }: StoredTensor): readonly [number, number] => {
    const width = dataTypes[dataType].bits / 8
    const last = offset + sizes.reduce((sum, size, axis) => sum + (size - 1) * strides[axis]!, 0)
    return [offset * width, (last + 1) * width]
  }
  const [[from, end], [otherFrom, otherEnd]] = [stretch(a), stretch(b)]
  return from < otherEnd && otherFrom < end
}

/** Row-major strides. */
export function contiguousStrides(sizes: readonly number[]): number[] {
  const strides = sizes.map(() => 1)
  for (let axis = sizes.length - 2; axis >= 0; axis--)
    strides[axis] = strides[axis + 1]! * Math.max(1, sizes[axis + 1]!)
  return strides
}
