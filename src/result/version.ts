/** Version of the result schema; apart from it, so that who only states it need not load zod. */
export const resultVersion = '1.0'
