"""Generator and discriminator pairs: architecture only, no knowledge of losses.

One signature for all: ``generator(z, labels)`` maps latents B×Z to images B×C×H×W in [-1, 1] and
``discriminator(x, labels)`` maps images to raw logits B×1. Unconditional models ignore the labels.
"""
