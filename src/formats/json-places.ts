/** Where a member of an object or an element of a list lies in the bytes of a JSON text. */
export interface Place {
  /** First byte of the key, or of the value in a list. */
  readonly memberStart: number
  /** The value: bytes `start` to `end`. */
  readonly start: number
  readonly end: number
  /** Where the comma before it lies; undefined for the first. */
  readonly separatorStart: number | undefined
  /** Where the next member begins; undefined for the last. */
  readonly separatorEnd: number | undefined
}

const [quote, backslash, comma, colon] = [0x22, 0x5c, 0x2c, 0x3a]
const opening = new Set([0x5b, 0x7b])
const closing = new Set([0x5d, 0x7d])
const isSpace = (byte: number | undefined) => byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09

/**
 * Members of the object (by key) or elements of the list (by index) at `place` in `bytes`, or of the outermost value.
 * `bytes` is valid JSON; like JSON.parse, the last of equal keys counts.
 */
export function placesIn(
  bytes: Uint8Array,
  place?: Pick<Place, 'start' | 'end'>,
): Map<string | number, Place> {
  const places = new Map<string | number, Place>()
  let at = place?.start ?? bytes.findIndex((byte) => opening.has(byte))
  const isObject = bytes[at] === 0x7b
  const list: { -readonly [K in keyof Place]: Place[K] }[] = []
  const skipSpace = () => {
    while (isSpace(bytes[at])) at++
  }
  at++
  skipSpace()
  while (at < bytes.length && !closing.has(bytes[at]!)) {
    const memberStart = at
    let key: string | number = list.length
    if (isObject) {
      at = valueEnd(bytes, at)
      key = JSON.parse(new TextDecoder().decode(bytes.subarray(memberStart, at))) as string
      while (bytes[at] !== colon) at++
      at++
      skipSpace()
    }
    const start = at
    at = valueEnd(bytes, at)
    const before = list.at(-1)
    if (before) before.separatorEnd = memberStart
    const found = {
      memberStart,
      start,
      end: at,
      separatorStart: before && before.end + bytes.subarray(before.end).indexOf(comma),
      separatorEnd: undefined,
    }
    list.push(found)
    places.set(key, found)
    skipSpace()
    if (bytes[at] === comma) at++
    skipSpace()
  }
  return places
}

/** Where the value that begins at `start` ends. */
function valueEnd(bytes: Uint8Array, start: number): number {
  let depth = 0
  let at = start
  for (; at < bytes.length; at++) {
    const byte = bytes[at]!
    if (byte === quote) {
      at++
      while (at < bytes.length && bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1
      if (depth === 0) return at + 1
    } else if (opening.has(byte)) depth++
    else if (closing.has(byte)) {
      if (depth <= 1) return depth === 0 ? at : at + 1
      depth--
    } else if (depth === 0 && (byte === comma || isSpace(byte))) return at
  }
  return at
}
