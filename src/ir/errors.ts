/**
 * Something that the user can put right: bad input, a wrong option, an operation that their model does not allow.
 * The message is one line that says what, where, expected against got, and what to try. The command line prints
 * it and exits with code 2; anything else thrown is a defect of varshift.
 */
export class UserError extends Error {
  override name = 'UserError'

  constructor(message: string, options?: ErrorOptions) {
    super(oneLine(message), options)
  }
}

/** Names come from files: one may be megabytes long. */
const maxLength = 2000

/** Line breaks and other control characters, of which some would steer the terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const control = /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g

function oneLine(message: string): string {
  const short =
    message.length > maxLength
      ? `${message.slice(0, maxLength / 2)} ... ${message.slice(-maxLength / 2)}`
      : message
  return short.replace(control, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`)
}
