/** Bytes that are read part by part and without waiting: of a file, or in memory. */
export interface Parts {
  readonly sizeBytes: number
  /** `length` bytes from `offset`: a view where they lie in memory. */
  read(offset: number, length: number): Uint8Array
  /** The same for many reads; close it when done. */
  open(): OpenParts
}

export interface OpenParts {
  /** Fills `target` with the bytes from `offset` on. */
  fill(target: Uint8Array, offset: number): void
  close(): void
}

export const memoryParts = (bytes: Uint8Array): Parts => ({
  sizeBytes: bytes.length,
  read: (offset, length) => (length === bytes.length ? bytes : bytes.subarray(offset, offset + length)),
  open: () => ({
    fill: (target, offset) => target.set(bytes.subarray(offset, offset + target.length)),
    close() {},
  }),
})

/** `length` bytes from `offset` of what others are a part of; the caller has checked that they lie in it. */
export const partOf = (whole: Parts, start: number, sizeBytes: number): Parts => ({
  sizeBytes,
  read: (offset, length) => whole.read(start + offset, length),
  open() {
    const { fill, close } = whole.open()
    return { fill: (target, offset) => fill(target, start + offset), close }
  },
})

/** All of it. */
export const allOf = (parts: Parts): Uint8Array => parts.read(0, parts.sizeBytes)
