"""Training of a ReLU network with PyTorch (fused Adam), and one action with PyTorch and onnxruntime.

The loss is the mean of ½ eᵀ P e over shuffled minibatches, in single precision. The toolkit does more in the same time:
it scales precisions, averages the iterates, lowers the rate, and evaluates the loss of the whole set before and after.
"""

import timing

parser = timing.parser(__doc__.splitlines()[0])
parser.add_argument("case", choices=["training", "action"])
parser.add_argument("--observations", type=int, default=26)
parser.add_argument("--actions", type=int, default=7)
parser.add_argument("--hidden", default="64-64")
parser.add_argument("--batch", type=int, default=25)
parser.add_argument("--steps", type=int, default=4000)
parser.add_argument("--threads", type=int, default=1)
arguments = parser.parse_args()

import numpy as np  # noqa: E402

import inputs  # noqa: E402

o, m, batch, steps = arguments.observations, arguments.actions, arguments.batch, arguments.steps
hidden = [int(units) for units in arguments.hidden.split("-")]
sizes = dict(obs=o, hidden=arguments.hidden, act=m)


def network(torch):
    torch.manual_seed(0)
    layers, units = [], [o, *hidden, m]
    for i, (a, b) in enumerate(zip(units, units[1:])):
        layers.append(torch.nn.Linear(a, b))
        if i < len(units) - 2:
            layers.append(torch.nn.ReLU())
    return torch.nn.Sequential(*layers)


def training(torch):
    data = inputs.distillation_set(o, m, 4, 20, 100)
    observations, targets, precisions, index = map(torch.tensor, data)
    count = len(observations)
    final = []

    def train():
        net = network(torch)
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
        order, at = torch.randperm(count), 0
        for _ in range(steps):
            if at + batch > count:
                order, at = torch.randperm(count), 0
            pick = order[at : at + batch]
            at += batch
            gap = net(observations[pick]) - targets[pick]
            weighted = torch.bmm(precisions[index[pick]], gap.unsqueeze(2)).squeeze(2)
            loss = 0.5 * (weighted * gap).sum() / batch
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        final.append(float(loss.detach()))

    samples = timing.measure(train, arguments)
    timing.emit(
        "pytorch", torch.__version__, "policy", "training", dict(sizes, batch=batch, steps=steps), samples,
        threads=arguments.threads, units=("samples", batch * steps), final_loss=final[-1],
    )  # fmt: skip


def action(torch):
    net = network(torch).eval()
    one = torch.tensor(inputs.Stream(inputs.POLICY).normals(1, o), dtype=torch.float32)
    with torch.inference_mode():
        expected = net(one).numpy()
        jit = torch.jit.freeze(torch.jit.trace(net, one))
        samples = timing.measure(lambda: jit(one), arguments)
        timing.emit("pytorch", torch.__version__, "policy", "action", sizes, samples, units=("actions", 1))
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    linear = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
    nodes, constants, last = [], [], "o"
    for i, layer in enumerate(linear):
        constants += [
            numpy_helper.from_array(layer.weight.detach().numpy(), f"W{i}"),
            numpy_helper.from_array(layer.bias.detach().numpy(), f"b{i}"),
        ]
        is_last = i == len(linear) - 1
        nodes.append(helper.make_node("Gemm", [last, f"W{i}", f"b{i}"], ["u" if is_last else f"z{i}"], transB=1))
        if not is_last:
            nodes.append(helper.make_node("Relu", [f"z{i}"], [f"a{i}"]))
            last = f"a{i}"
    graph = helper.make_graph(
        nodes, "policy", [helper.make_tensor_value_info("o", TensorProto.FLOAT, [1, o])],
        [helper.make_tensor_value_info("u", TensorProto.FLOAT, [1, m])], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    feed = {"o": one.numpy()}
    if not np.allclose(session.run(None, feed)[0], expected, atol=1e-5):
        raise RuntimeError("another action than PyTorch's")
    samples = timing.measure(lambda: session.run(None, feed), arguments)
    timing.emit("onnxruntime", onnxruntime.__version__, "policy", "action", sizes, samples, units=("actions", 1))


try:
    import torch

    torch.set_num_threads(arguments.threads)
    torch.set_num_interop_threads(1)
    dict(training=training, action=action)[arguments.case](torch)
except Exception as error:  # noqa: BLE001
    timing.emit_failure("pytorch", "policy", arguments.case, sizes, error)
