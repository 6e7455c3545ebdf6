"""The inputs of `gps bench`, drawn again: the same numbers in the same order (BenchmarkInputs.swift in Benchmarks).

The toolkit's random words are those of NumPy's Philox. Uniform and normal numbers are made from them as it does, so
that they agree to the rounding of logarithm, sine and cosine.
"""

import numpy as np

LQR, MIXTURE, DYNAMICS, POLICY = 10, 20, 30, 40  # seeds


class Stream:
    """Standard-normal numbers of a seed (Box and Muller 1958)."""

    def __init__(self, seed):
        self.words = np.random.Philox(key=seed)
        self.spare = np.empty(0)

    def normals(self, *shape):
        """An array of a shape, filled column by column."""
        count = int(np.prod(shape))
        missing = count - len(self.spare)
        if missing > 0:
            pairs = (missing + 1) // 2
            words = self.words.random_raw(2 * pairs).astype(np.uint64)
            uniform = ((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52
            radius = np.sqrt(-2 * np.log(uniform[0::2]))
            angle = 2 * np.pi * uniform[1::2]
            drawn = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]).ravel()
            self.spare = np.concatenate([self.spare, drawn])
        numbers, self.spare = self.spare[:count], self.spare[count:]
        return numbers.reshape(shape, order="F")


def curvature(size, stream):
    S = stream.normals(size, size) / np.sqrt(size)
    return np.eye(size) + 0.25 * S @ S.T


def linear_quadratic(n, m, T):
    """A, B, f, H (cost of [x; u]), g, the last step's Hf and gf, and the mean initial state."""
    stream = Stream(LQR)
    d = n + m
    p = dict(n=n, m=m, T=T, F=np.empty((T, n, d)), f=np.empty((T, n)), H=np.empty((T, d, d)), g=np.empty((T, d)))
    for t in range(T):
        p["F"][t, :, :n] = 0.6 * np.eye(n) + 0.15 / np.sqrt(n) * stream.normals(n, n)
        p["F"][t, :, n:] = stream.normals(n, m) / np.sqrt(n)
        p["H"][t] = curvature(d, stream)
        p["f"][t] = 0.1 * stream.normals(n)
        p["g"][t] = stream.normals(d)
    p["Hf"], p["gf"], p["x0"] = curvature(n, stream), stream.normals(n), stream.normals(n)
    p["S0"], p["W"], p["C"] = 0.1 * np.eye(n), 0.01 * np.eye(n), 0.1 * np.eye(m)
    return p


def clustered_points(d, K, N):
    """Points (N × d) of mean 0 and deviation 1 in each dimension, and the means that EM starts from (K × d)."""
    stream = Stream(MIXTURE)
    points = np.empty((N, d))
    for k in range(K):
        spread = np.eye(d) + 0.5 / np.sqrt(d) * stream.normals(d, d)
        center = 0.5 * stream.normals(d)
        rows = range(k, N, K)
        points[rows] = center + stream.normals(d, len(rows)).T @ spread.T
    points -= points.mean(axis=0)
    points /= np.sqrt((points**2).mean(axis=0))
    return points, np.mean([points[(np.arange(K) + K * sample) % N] for sample in range(20)], axis=0)


def dynamics_points(n, m, T, N, M):
    """The points [x_t; u_t; x_{t+1}] of N rollouts of M conditions: (M, T, N, 2 n + m)."""
    stream = Stream(DYNAMICS)
    A, B = np.empty((T, n, n)), np.empty((T, n, m))
    for t in range(T):
        A[t] = 0.6 * np.eye(n) + 0.15 / np.sqrt(n) * stream.normals(n, n)
        B[t] = stream.normals(n, m) / np.sqrt(n)
    points = np.empty((M, T, N, 2 * n + m))
    for condition in range(M):
        center = stream.normals(n)
        for sample in range(N):
            x = center + 0.1 * stream.normals(n)
            for t in range(T):
                u, noise = stream.normals(m), stream.normals(n)
                after = A[t] @ x + B[t] @ u + 0.05 * noise
                points[condition, t, sample] = np.concatenate([x, u, after])
                x = after
    return points


def pooled_prior(points, K):
    """Centre, scale, weights, means (K × d) and covariances of a mixture in whitened coordinates: points (T, N, d)."""
    flat = points.reshape(-1, points.shape[-1])
    center, scale = flat.mean(axis=0), flat.std(axis=0)
    white = (flat - center) / scale
    d, count = white.shape[1], len(white)
    pooled = white.T @ white / count + 1e-3 * np.eye(d)
    means = white[(count // K) * np.arange(K)]
    covariances = np.stack([(0.5 + k / K) * pooled for k in range(K)])
    return center, scale, np.full(K, 1 / K), means, covariances


def distillation_set(o, m, M, N, T):
    """Observations, targets and a precision for each sample, in single precision."""
    stream = Stream(POLICY)
    count = M * N * T
    observations = stream.normals(o, count).T
    G = stream.normals(m, o) / np.sqrt(o)
    targets = np.tanh(observations @ G.T)
    halves = np.stack([stream.normals(m, m) / np.sqrt(m) for _ in range(M * T)])
    precisions = halves @ halves.transpose(0, 2, 1) + np.eye(m)
    index = np.arange(count) % (M * T)
    return observations.astype(np.float32), targets.astype(np.float32), precisions.astype(np.float32), index
