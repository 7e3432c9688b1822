"""Where noise reaches each BN, read from the exported graph, independently of varshift's own analysis.

Classes of the path from a noise to a BN, without crossing another BN:
  direct     nothing but identity, reshape, flatten, transpose between
  linear     also convolution, dense, average pooling, sums, concatenation
  nonlinear  also ReLU, max pooling or anything else
Behind another BN: "behind". No noise upstream: "none".
"""

DIRECT = {"Identity", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze"}
LINEAR = {"Conv", "Gemm", "MatMul", "Add", "Concat", "AveragePool", "GlobalAveragePool", "ReduceMean", "Sum"}
RANK = ["direct", "linear", "nonlinear"]


def _data_inputs(node, initializers):
    values = [name for name in node.input if name and name not in initializers]
    return values[:1] if node.op_type in {"Dropout", "Reshape", "BatchNormalization", "ReduceMean"} else values


def exposures(graph, constant):
    """For each BN in node order: (node, exposure, [{node, ratio, path}], nearest ratio, nearest linear node).

    `constant(name)` reads an initializer or Constant output.
    """
    initializers = {t.name for t in graph.initializer}
    producer = {out: node for node in graph.node for out in node.output if out}
    result = []
    for norm in graph.node:
        if norm.op_type != "BatchNormalization":
            continue
        best, behind, nearest, linear = {}, False, None, None
        frontier = [(norm.input[0], 0, False)]
        seen = set()
        while frontier:
            following = []
            for value, rank, crossed in frontier:
                node = producer.get(value)
                if node is None or (value, rank, crossed) in seen:
                    continue
                seen.add((value, rank, crossed))
                kind = node.op_type
                if kind == "Dropout":
                    ratio = float(constant(node.input[1])) if len(node.input) > 1 else 0.5
                    nearest = nearest or ratio
                    if crossed:
                        behind = True
                    else:
                        found = best.setdefault(node.name, [rank, ratio])
                        found[0] = min(found[0], rank)
                elif kind == "BatchNormalization":
                    crossed = True
                elif kind in LINEAR:
                    rank = max(rank, 1)
                elif kind not in DIRECT:
                    rank = 2
                following += [(name, rank, crossed) for name in _data_inputs(node, initializers)]
            frontier = following
        # The nearest weighted node in front of the BN, through single-input nodes only.
        node = producer.get(norm.input[0])
        while node is not None and linear is None:
            inputs = _data_inputs(node, initializers)
            if node.op_type in {"Conv", "Gemm", "MatMul"}:
                linear = node
            elif len(inputs) == 1 and node.op_type != "BatchNormalization":
                node = producer.get(inputs[0])
            else:
                break
        noises = [{"node": name, "ratio": ratio, "path": RANK[rank]} for name, (rank, ratio) in best.items()]
        if noises:
            exposure = RANK[min(rank for rank, _ in best.values())]
        else:
            exposure = "behind" if behind else "none"
        result.append({"node": norm, "exposure": exposure, "noises": noises, "nearest": nearest, "linear": linear})
    return result
