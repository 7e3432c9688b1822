const wide =
  /[\p{Script=Han}\p{Script=Hangul}\p{Script=Hiragana}\p{Script=Katakana}\p{Emoji_Presentation}\u3000-\u303f\uff01-\uff60\uffe0-\uffe6]/u
const zeroWidth = /[\p{M}\p{Cf}]/u

/** Columns that a text takes in a terminal. It must not hold escape sequences: style after laying out. */
export function textWidth(text: string): number {
  let width = 0
  for (const character of text) width += characterWidth(character)
  return width
}

function characterWidth(character: string): number {
  if (character < '\u0300') return 1
  if (zeroWidth.test(character)) return 0
  return wide.test(character) ? 2 : 1
}

/** Cut to `width` columns with an ellipsis; two thirds of what is kept is the end, which tells layers apart. */
export function shorten(text: string, width: number): string {
  if (textWidth(text) <= width) return text
  if (width <= 1) return width === 1 ? '…' : ''
  const characters = [...text]
  const headWidth = Math.floor((width - 1) / 3)
  const head = take(characters, headWidth)
  const tail = take(characters.toReversed(), width - 1 - textWidth(head.join('')))
  return `${head.join('')}…${tail.toReversed().join('')}`
}

function take(characters: readonly string[], width: number): string[] {
  const taken: string[] = []
  let left = width
  for (const character of characters) {
    left -= characterWidth(character)
    if (left < 0) break
    taken.push(character)
  }
  return taken
}

export function pad(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const space = ' '.repeat(Math.max(0, width - textWidth(text)))
  return align === 'left' ? text + space : space + text
}

/** Break at spaces into lines of at most `width` columns; a word longer than a line is cut. */
export function wrap(text: string, width: number): string[] {
  return wrapWords(text.split(/\s+/), width)
}

/** The same for words that may hold spaces themselves, such as the steps of a path. */
export function wrapWords(words: readonly string[], width: number): string[] {
  const lines: string[] = []
  let line = ''
  for (let word of words) {
    if (word === '') continue
    if (line !== '' && textWidth(line) + 1 + textWidth(word) <= width) {
      line += ` ${word}`
      continue
    }
    if (line !== '') lines.push(line)
    while (textWidth(word) > width) {
      const piece = take([...word], Math.max(1, width)).join('') || [...word][0]!
      lines.push(piece)
      word = word.slice(piece.length)
    }
    line = word
  }
  if (line !== '') lines.push(line)
  return lines
}
