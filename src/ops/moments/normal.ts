/** Error function: the rational approximation 7.1.26 of Abramowitz and Stegun, error below 1.5e-7. */
export function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x))
  const series =
    t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
  return Math.sign(x) * (1 - series * Math.exp(-x * x))
}

/** Density and distribution function of the standard normal variable. */
export const normalDensity = (z: number): number => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)
export const normalBelow = (z: number): number => (1 + erf(z / Math.SQRT2)) / 2
