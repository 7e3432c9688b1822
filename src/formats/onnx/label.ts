import type { Node } from '../../ir/model.ts'

const parameterSuffix =
  /[./](?:weight|bias|running_mean|running_var|gamma|beta|moving_mean|moving_variance|kernel)(?::0)?$/

/**
 * The layer as the user knows it, from the traces that exporters leave: the names of the parameters it reads
 * (`layer1.0.bn2.running_mean`), the scopes that PyTorch's newer exporter notes, or the slashed node names of its
 * older one and of tf2onnx. Empty if there is no trace.
 */
export function labelOf(
  node: Omit<Node, 'origin'>,
  isParameter: (value: string) => boolean,
  scopes: string | undefined,
): string {
  for (const input of node.inputs)
    if (isParameter(input) && parameterSuffix.test(input)) return input.replace(parameterSuffix, '')
  const module = scopes === undefined ? undefined : moduleOfScopes(scopes)
  return module ?? moduleOfName(node.name)
}

/** `['', 'layer1', 'layer1.0', 'layer1.0.bn2', 'batch_norm']` -> `layer1.0.bn2`. */
function moduleOfScopes(scopes: string): string | undefined {
  const quoted = [...scopes.matchAll(/'([^']*)'/g)].map((match) => match[1] ?? '')
  return quoted.at(-2) || undefined
}

/** `/layer1/layer1.0/bn2/BatchNormalization` -> `layer1.0.bn2`; other names stay as they are. */
function moduleOfName(name: string): string {
  if (!name.startsWith('/')) return name
  const scopes = name.split('/').slice(1, -1)
  const parts: string[] = []
  for (const scope of scopes) {
    const [first, ...rest] = scope.split('.')
    if (first === parts.at(-1) && rest.length > 0) parts.push(...rest)
    else if (parts.length > 0 && scope.startsWith(`${parts.join('.')}.`))
      parts.push(...scope.slice(parts.join('.').length + 1).split('.'))
    else parts.push(scope)
  }
  return parts.join('.') || name
}
