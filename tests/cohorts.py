"""Recipes of a small cohort: two epochs, and a plain one of constant steps."""

from kdnb.training import Recipe

QUICK = Recipe(epochs=2, batch_size=8, lr=0.05, precision="32")

STEP = Recipe(epochs=1, batch_size=8, lr=0.1, momentum=0.0, schedule="constant", precision="32")
