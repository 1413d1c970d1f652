"""Settings for every test."""

import os

from hypothesis import settings

# Time limits of single examples say more about the machine than about the code. In the CI the examples are the same
# each time: what chance finds is for whoever sits at the keyboard.
settings.register_profile("doorstep", deadline=None, print_blob=True, derandomize=os.environ.get("CI") == "true")
settings.load_profile("doorstep")
