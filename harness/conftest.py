"""Makes `pytest harness/checks` and `pytest harness/tests` know the plugin."""

pytest_plugins = ["forklab.plugin"]
