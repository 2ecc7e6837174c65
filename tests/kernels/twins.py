"""Torch twins of the witness's functions (kernels/witness.cu, witness.c): in place on the outputs, as launches are."""


def witness_copy(x, y, n):
    y[:n] = x[:n]


def witness_triad(x, z, y, n, a):
    y[:n] = x[:n] + a * z[:n]


def witness_read(x, out, n):
    out[0] += x[:n].double().sum()


def witness_fma(x, y, n, steps, a, b):
    y[:n] = x[:n]
    for _ in range(steps):
        y[:n].mul_(a).add_(b)


def witness_adds(pair, n, rounds):
    a, b = pair.tolist()
    for _ in range(8 * rounds):
        a += b
        b += a
    pair.copy_(pair.new_tensor([(value + 2**63) % 2**64 - 2**63 for value in (a, b)]))
