import { defineRule } from './define-rule.ts'
import { placeOf } from './places.ts'

/** A normalization or noise inside If, Loop or Scan. */
export const hiddenInSubgraph = defineRule({
  id: 'hidden-in-subgraph',
  severity: 'info',
  summary: 'A BatchNormalization or a noise lies inside a branch of If or the body of Loop or Scan.',
  why: 'Which branch runs, and how often a body runs, depends on the input, so ways between noises and normalizations are not followed into them, and what the layer sees is neither predicted nor measured nor repaired. The rest of the file is.',
  ignoreWhen: 'The branch does not run at inference, for instance because it is the training branch.',
  fix: 'Export the network for one fixed choice: with the condition as a constant, exporters write the branch in its place.',
  source: 'ONNX operators If, Loop and Scan.',
  examples: {
    quiet: [
      `net (float32[N, 2] x, bool flag) => (float32[N, 2] y)
<float32[2] one = fill(1), float32[2] mean = fill(0.3)>
{
  n = BatchNormalization(x, one, mean, mean, one)
  y = If (flag) <then_branch = a () => (t) { t = Identity(n) }, else_branch = b () => (e) { e = Relu(n) }>
}`,
    ],
    finding: [
      `net (float32[N, 2] x, bool flag) => (float32[N, 2] y)
<float32[2] one = fill(1), float32[2] mean = fill(0.3)>
{
  [choice] y = If (flag) <
    then_branch = a () => (t) { [inner.bn] t = BatchNormalization(x, one, mean, mean, one) },
    else_branch = b () => (e) { e = Identity(x) }>
}`,
      `net (float32[N, 2] x, bool flag) => (float32[N, 2] y)
<float ratio = {0.5}, bool on = {1}>
{
  [choice] y = If (flag) <
    then_branch = a () => (t) { [inner.drop] t = Dropout(x, ratio, on) },
    else_branch = b () => (e) { e = Identity(x) }>
}`,
    ],
  },
  messages: {
    norm: "'{label}' lies inside {inside}: it can be found there, but neither measured nor repaired.",
    noise: "The noise '{label}' ({type}) lies inside {inside}: what it reaches is not followed.",
  },
  check({ facts, report }) {
    for (const [message, found] of [
      ['norm', facts.nested.norms],
      ['noise', facts.nested.noises],
    ] as const)
      for (const nested of found)
        report({
          message,
          at: placeOf(nested),
          aspect: nested.inside.join('/'),
          data: {
            label: nested.label,
            type: nested.node.opType,
            inside: nested.inside.map((label) => `'${label}'`).join(', in '),
          },
        })
  },
})
