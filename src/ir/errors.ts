/**
 * Something that the user can put right: bad input, a wrong option, an operation that their model does not allow.
 * The message is one line that says what, where, expected against got, and what to try. The command line prints
 * it and exits with code 2; anything else thrown is a defect of varshift.
 */
export class UserError extends Error {
  override name = 'UserError'
}
