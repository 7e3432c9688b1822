import { expect, test } from 'vitest'
import { UserError } from './errors.ts'

test('a message is one line that does not steer the terminal', () => {
  const { message } = new UserError("file 'a\nb\r\u001b[2J\u2028\u202e' is bad")
  expect(message).toBe("file 'a\\u000ab\\u000d\\u001b[2J\\u2028\\u202e' is bad")
  expect(new UserError('Größe 3 × 4, naïve 文字 are left alone').message).toBe(
    'Größe 3 × 4, naïve 文字 are left alone',
  )
})

test('a long message is cut in the middle', () => {
  const { message } = new UserError(`tensor '${'x'.repeat(1e6)}' needs 4 bytes`)
  expect(message.length).toBeLessThan(2100)
  expect(message).toMatch(/^tensor 'x+ \.\.\. x+' needs 4 bytes$/)
})
