"""Mixture EM with scikit-learn: full covariances, a fixed number of passes from given parameters.

scikit-learn ends with one more E-step, and so does the toolkit.
"""

import warnings

import timing

parser = timing.parser(__doc__.splitlines()[0])
parser.add_argument("--dimension", type=int, default=59)
parser.add_argument("--clusters", type=int, default=20)
parser.add_argument("--points", type=int, default=2000)
parser.add_argument("--passes", type=int, default=20)
arguments = parser.parse_args()

import numpy as np  # noqa: E402

import inputs  # noqa: E402

D, K, N, passes = arguments.dimension, arguments.clusters, arguments.points, arguments.passes
sizes = dict(D=D, K=K, N=N, iters=passes)
try:
    import sklearn
    from sklearn.mixture import GaussianMixture

    warnings.simplefilter("ignore")
    points, means = inputs.clustered_points(D, K, N)
    mixture = GaussianMixture(
        K, tol=0.0, reg_covar=1e-6, max_iter=passes, weights_init=np.full(K, 1 / K), means_init=means,
        precisions_init=np.tile(np.eye(D), (K, 1, 1)),
    )  # fmt: skip
    samples = timing.measure(lambda: mixture.fit(points), arguments)
    if mixture.n_iter_ != passes:
        raise RuntimeError(f"{mixture.n_iter_} passes")
    timing.emit(
        "scikit-learn", sklearn.__version__, "mixture", "em", sizes, samples, check=mixture.score(points),
        units=("point_iterations", N * passes),
    )  # fmt: skip
except Exception as error:  # noqa: BLE001
    timing.emit_failure("scikit-learn", "mixture", "em", sizes, error)
