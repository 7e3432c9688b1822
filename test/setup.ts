import fc from 'fast-check'

// Properties are tried on the same values in every run, so that a contribution fails for what it changed. Others are
// searched with SEED=N npm test, and damaged files for as long as one likes with npm run fuzz.
fc.configureGlobal({ seed: Number(process.env.SEED ?? 1) })
