"""For all tests: one thread each (xdist runs several at once), and no progress bars."""

import os

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # of this process and of the kernels it starts
